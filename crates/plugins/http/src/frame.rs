//! Decides how a response is framed on its connection.
//!
//! Takes the head of a component's response; gives the content that may follow it. A component writes headers and body
//! separately, so only the count of bytes keeps one response from running into the next (RFC 9112, section 6). Never
//! reads a body.

use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, Method, StatusCode, header, response};

/// The content that follows a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// None, whatever the component writes.
    None,
    /// Exactly this many bytes.
    Sized(u64),
    /// As many bytes as the component writes, chunked in HTTP/1.1.
    Unsized,
}

/// Why a response cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// An interim response (1xx) requires a final one to follow (RFC 9110, section 15.2).
    #[error("invalid response status `{0}`: expected a final status (200 or above)")]
    Interim(u16),
    /// The `content-length` header is repeated, or not a number.
    #[error("invalid `content-length` in the response: expected one decimal number")]
    Length,
}

/// Decides what follows the head of a response, and removes headers that contradict it.
///
/// # Errors
/// [`Malformed`] when a client could not determine where the response ends.
pub(crate) fn response_content(method: &Method, head: &mut response::Parts) -> Result<Content, Malformed> {
    let length = content_length(&head.headers)?;
    match head.status {
        status if status.is_informational() => Err(Malformed::Interim(status.as_u16())),
        // These must not declare a length, not even 0 (RFC 9110, section 8.6).
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => {
            head.headers.remove(CONTENT_LENGTH);
            Ok(Content::None)
        }
        // The length is that of the 200 response that this one stands for.
        StatusCode::NOT_MODIFIED => Ok(Content::None),
        _ if method == Method::HEAD => Ok(Content::None),
        _ => Ok(length.map_or(Content::Unsized, Content::Sized)),
    }
}

/// The `content-length` that a message declares.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // `u64::from_str` accepts a plus sign, which the grammar does not.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok()).filter(|_| values.next().is_none());
    length.map(Some).ok_or(Malformed::Length)
}

/// The size of a header list in bytes, as HTTP/2 counts it (RFC 9113, section 6.5.2).
pub(crate) fn header_list_size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + 32) as u64).sum()
}

/// Removes fields that trailers must not contain (RFC 9110, section 6.5.1): those that frame, route or describe a
/// message. A recipient may merge trailers into the headers.
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
    use super::{Content, Malformed, header_list_size, response_content};
    use http::{HeaderMap, HeaderValue, Method, Response};

    fn framed(method: &Method, status: u16, lengths: &[&'static str]) -> (Result<Content, Malformed>, bool) {
        let mut head = Response::builder().status(status).body(()).unwrap().into_parts().0;
        for length in lengths {
            head.headers.append("content-length", HeaderValue::from_static(length));
        }
        let content = response_content(method, &mut head);
        (content, head.headers.contains_key("content-length"))
    }

    #[test]
    fn content_depends_on_method_status_and_length() {
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
    fn counts_headers_as_http_2_does() {
        let mut headers = HeaderMap::new();
        headers.insert("abc", HeaderValue::from_static("de"));
        assert_eq!(header_list_size(&headers), 37);
    }
}
