//! How a component's response is delimited on its connection.
//!
//! Takes the head that a component made; gives what may follow it. A component writes its headers and its body apart, so
//! nothing but the count of bytes keeps one answer from running into the next (RFC 9112, section 6). Never reads a body.

use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, Method, StatusCode, header, response};

/// What follows a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing, whatever the component writes.
    None,
    /// So many bytes, no more and no fewer.
    Sized(u64),
    /// As many bytes as the component writes.
    Unsized,
}

/// Why a response cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A response of 1xx announces another one (RFC 9110, section 15.2).
    #[error("its status, {0}, is that of an interim response")]
    Interim(u16),
    /// The header is not one number.
    #[error("its `content-length` is not one number")]
    Length,
}

/// Decides what follows the head of a response, and removes headers that would say otherwise.
///
/// # Errors
/// [`Malformed`] when no client could tell where the response ends.
pub(crate) fn content(method: &Method, head: &mut response::Parts) -> Result<Content, Malformed> {
    let declared = declared(&head.headers)?;
    match head.status {
        status if status.is_informational() => Err(Malformed::Interim(status.as_u16())),
        // RFC 9110, section 8.6: no length in these, not even 0.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => {
            head.headers.remove(CONTENT_LENGTH);
            Ok(Content::None)
        }
        // The length here is that of another response, which has the content.
        StatusCode::NOT_MODIFIED => Ok(Content::None),
        _ if method == Method::HEAD => Ok(Content::None),
        _ => Ok(declared.map_or(Content::Unsized, Content::Sized)),
    }
}

/// The `content-length` of a message.
fn declared(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // `u64` would take a plus sign.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok()).filter(|_| values.next().is_none());
    length.map(Some).ok_or(Malformed::Length)
}

/// The size of all headers together as HTTP/2 counts it (RFC 9113, section 6.5.2).
pub(crate) fn size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + 32) as u64).sum()
}

/// Removes what may not stand in trailers (RFC 9110, section 6.5.1): fields that frame or route a message, or say how to
/// read it, which a recipient may merge into the headers.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    const FORBIDDEN: [HeaderName; 16] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        HeaderName::from_static("keep-alive"),
        header::MAX_FORWARDS,
        HeaderName::from_static("proxy-connection"),
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in FORBIDDEN {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Malformed, content, size};
    use http::{HeaderMap, HeaderValue, Method, Response};

    fn framed(method: &Method, status: u16, lengths: &[&'static str]) -> (Result<Content, Malformed>, bool) {
        let mut head = Response::builder().status(status).body(()).unwrap().into_parts().0;
        for length in lengths {
            head.headers.append("content-length", HeaderValue::from_static(length));
        }
        let content = content(method, &mut head);
        (content, head.headers.contains_key("content-length"))
    }

    #[test]
    fn content_follows_the_head_by_its_method_status_and_length() {
        assert_eq!(framed(&Method::GET, 200, &["5"]), (Ok(Content::Sized(5)), true));
        assert_eq!(framed(&Method::GET, 200, &[]), (Ok(Content::Unsized), false));
        assert_eq!(framed(&Method::HEAD, 200, &["5"]), (Ok(Content::None), true));
        assert_eq!(framed(&Method::GET, 304, &["5"]), (Ok(Content::None), true));
        assert_eq!(framed(&Method::GET, 204, &["5"]), (Ok(Content::None), false));
        assert_eq!(framed(&Method::GET, 205, &["5"]), (Ok(Content::None), false));
        assert_eq!(framed(&Method::GET, 103, &[]).0, Err(Malformed::Interim(103)));
        for bad in [&["+5"][..], &["5", "5"], &["5, 5"], &[""], &["99999999999999999999"]] {
            assert_eq!(framed(&Method::GET, 200, bad).0, Err(Malformed::Length), "{bad:?}");
        }
    }

    #[test]
    fn headers_are_counted_as_http_2_does() {
        let mut headers = HeaderMap::new();
        headers.insert("abc", HeaderValue::from_static("de"));
        assert_eq!(size(&headers), 37);
    }
}
