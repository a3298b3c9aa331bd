// What a request's target asks for. Included by the guests that do as they are asked.

/// The part of a request's path before its query.
fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// A number of a request's query.
fn number(target: &str, name: &str) -> Option<u64> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}
