//! Subjects, as NATS has them: tokens separated by `.`.
//!
//! Takes text from components and manifests; gives whether it is a subject, and whether a subject matches a pattern.
//! Stricter than the server where a laxer rule has caused confusion: a wildcard is always a whole token, and no
//! character is blank or a control character. Never allocates unless it reports an error.

use super::Error;

/// The longest subject, in bytes. A server closes the connection on a longer control line, which holds two of them.
pub const MAX_SUBJECT: usize = 1024;
/// The longest name of a queue, in bytes.
pub const MAX_QUEUE: usize = 256;

/// Checks a subject that a message is sent to: no wildcard.
pub fn validate_publish(subject: &str) -> Result<(), Error> {
    check(subject)?;
    if subject.contains(['*', '>']) {
        return Err(invalid(subject, "a message cannot be sent to a wildcard"));
    }
    Ok(())
}

/// Checks a subject that is subscribed to: `*` may stand for a token, and `>` for the last ones.
pub fn validate_subscribe(subject: &str) -> Result<(), Error> {
    check(subject)?;
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            ">" if tokens.peek().is_some() => return Err(invalid(subject, "`>` must be the last token")),
            "*" | ">" => {}
            token if token.contains(['*', '>']) => {
                return Err(invalid(subject, "a wildcard must be a whole token"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the name of a queue.
pub fn validate_queue(queue: &str) -> Result<(), Error> {
    let problem = if queue.is_empty() {
        "the name of a queue is empty"
    } else if queue.len() > MAX_QUEUE {
        "the name of a queue is too long"
    } else if queue.chars().any(is_blank) {
        "the name of a queue has a blank"
    } else {
        return Ok(());
    };
    Err(Error::InvalidSubject(problem.to_owned()))
}

/// Whether a subject without wildcards matches a pattern. Both are taken to be valid.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// What holds for every subject.
fn check(subject: &str) -> Result<(), Error> {
    if subject.is_empty() {
        return Err(Error::InvalidSubject("the subject is empty".to_owned()));
    }
    if subject.len() > MAX_SUBJECT {
        return Err(Error::InvalidSubject(format!("the subject exceeds {MAX_SUBJECT} bytes")));
    }
    if subject.chars().any(is_blank) {
        return Err(invalid(subject, "it has a blank or a control character"));
    }
    if subject.split('.').any(str::is_empty) {
        return Err(invalid(subject, "it has an empty token"));
    }
    Ok(())
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn invalid(subject: &str, problem: &str) -> Error {
    Error::InvalidSubject(format!("`{}`: {problem}", subject.escape_debug()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_nats_accepts() {
        for subject in ["a", "a.b.c", "$JS.API", "_INBOX.x.y", "orders-1.é_ñ"] {
            assert_eq!(validate_publish(subject), Ok(()), "{subject}");
        }
        for subject in ["*", ">", "a.*", "a.*.c", "a.>", "*.*.>"] {
            assert_eq!(validate_subscribe(subject), Ok(()), "{subject}");
            assert!(validate_publish(subject).is_err(), "{subject}");
        }
    }

    #[test]
    fn rejects_what_would_break_the_protocol_or_confuse() {
        for subject in ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB b 0", "a\0", "a\u{a0}b"] {
            assert!(matches!(validate_publish(subject), Err(Error::InvalidSubject(_))), "{subject:?}");
            assert!(matches!(validate_subscribe(subject), Err(Error::InvalidSubject(_))), "{subject:?}");
        }
        for subject in [">.a", "a.>.b", "a*", "*a.b", "a>", "a.>>"] {
            assert!(validate_subscribe(subject).is_err(), "{subject}");
        }
        assert!(validate_publish(&"a".repeat(MAX_SUBJECT)).is_ok());
        assert!(validate_publish(&"a".repeat(MAX_SUBJECT + 1)).is_err());
        for queue in ["", "a b", "a\n"] {
            assert!(validate_queue(queue).is_err(), "{queue:?}");
        }
        assert!(validate_queue("workers.eu").is_ok());
    }

    #[test]
    fn matches_by_token() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("*", "a.b", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    /// The meaning of a pattern, written as directly as possible.
    fn reference(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([">"], [_, ..]) | ([], []) => true,
            (["*", pattern @ ..], [_, subject @ ..]) => reference(pattern, subject),
            ([part, pattern @ ..], [token, subject @ ..]) => part == token && reference(pattern, subject),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(pattern in "[ab*](\\.[ab*]){0,4}(\\.>)?", subject in "[ab](\\.[ab]){0,5}") {
            prop_assert!(validate_subscribe(&pattern).is_ok());
            prop_assert!(validate_publish(&subject).is_ok());
            let (parts, tokens) = (pattern.split('.').collect::<Vec<_>>(), subject.split('.').collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &subject), reference(&parts, &tokens));
        }

        #[test]
        fn a_subject_matches_itself_and_each_generalisation(
            subject in "[a-z]{1,4}(\\.[a-z]{1,4}){0,5}",
            at in 0_usize..6,
        ) {
            prop_assert!(matches(&subject, &subject));
            let mut tokens = subject.split('.').collect::<Vec<_>>();
            let at = at % tokens.len();
            tokens[at] = "*";
            prop_assert!(matches(&tokens.join("."), &subject));
            tokens.truncate(at);
            tokens.push(">");
            prop_assert!(matches(&tokens.join("."), &subject));
        }

        #[test]
        fn never_panics_and_never_lets_a_blank_through(text in "\\PC{0,20}|[ .*>\r\n\ta-c]{0,20}") {
            for valid in [validate_publish(&text), validate_subscribe(&text)] {
                if valid.is_ok() {
                    prop_assert!(!text.contains([' ', '\r', '\n', '\t']) && !text.contains(".."));
                }
            }
            let _ = (matches(&text, "a.b"), validate_queue(&text));
        }
    }
}
