//! Requests for manifests and tag lists. They are made here rather than by the OCI client because it reads answers of any
//! size into memory and hides the link to the next page of tags.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, LINK, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};

use super::error::{ErrorContext, RegistryError};
use crate::credentials::Credentials;

/// Largest error answer that is read.
const MAX_ERROR_BODY: u64 = 16 << 10;

/// How one request proves who asks.
#[derive(Clone)]
pub(super) enum Authorization {
    Token(String),
    Credentials(Credentials),
}

impl Authorization {
    fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Token(token) => request.bearer_auth(token),
            Self::Credentials(Credentials::Basic { username, password }) => {
                request.basic_auth(username, Some(password))
            }
            Self::Credentials(Credentials::Anonymous) => request,
        }
    }
}

/// One request; an answer other than success is an error.
pub(super) async fn send(
    client: &reqwest::Client,
    method: Method,
    url: Url,
    accept: &str,
    authorization: &Authorization,
    context: &ErrorContext<'_>,
) -> Result<Response, RegistryError> {
    let request = authorization.apply(client.request(method, url).header(ACCEPT, accept));
    let response = request.send().await.map_err(|error| context.request(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers());
    let body = read(response, MAX_ERROR_BODY, context).await.unwrap_or_default();
    Err(context.status(status.as_u16(), &String::from_utf8_lossy(&body), retry_after))
}

/// Reads an answer of at most `max` bytes.
pub(super) async fn read(
    mut response: Response,
    max: u64,
    context: &ErrorContext<'_>,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = || context.protocol(&format!("its answer has more than {max} bytes"));
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| context.request(&error))? {
        if body.len() as u64 + chunk.len() as u64 > max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Seconds to wait, if the registry says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The next page of a list. It must be on the same registry, or credentials would follow it elsewhere.
pub(super) fn next_page(
    current: &Url,
    headers: &HeaderMap,
    context: &ErrorContext<'_>,
) -> Result<Option<Url>, RegistryError> {
    for value in headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()) {
        for link in value.split(',') {
            let mut parts = link.split(';').map(str::trim);
            let target = parts.next().and_then(|target| target.strip_prefix('<')?.strip_suffix('>'));
            let is_next = parts.any(|part| matches!(part.replace(' ', "").as_str(), "rel=\"next\"" | "rel=next"));
            if let (Some(target), true) = (target, is_next) {
                let next = current.join(target).map_err(|_| context.protocol("invalid link to the next page"))?;
                if next.origin() != current.origin() {
                    return Err(context.protocol("the link to the next page leads to another host"));
                }
                return Ok(Some(next));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_on_the_same_registry_only() {
        let repository = "oci://r.example/a".parse().unwrap();
        let context = ErrorContext { repository: &repository, reference: "a", anonymous: true };
        let current: Url = "https://r.example/v2/a/tags/list?n=2".parse().unwrap();
        let next = |link: &str| {
            let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
            next_page(&current, &headers, &context).map(|url| url.map(String::from))
        };
        let expected = Some("https://r.example/v2/a/tags/list?n=2&last=b".to_owned());
        assert_eq!(next("</v2/a/tags/list?n=2&last=b>; rel=\"next\"").unwrap(), expected);
        assert_eq!(next("</x>; rel=prev, </v2/a/tags/list?n=2&last=b>; rel=next").unwrap(), expected);
        assert_eq!(next("</x>; rel=\"prev\"").unwrap(), None);
        assert!(next("<https://evil.example/v2>; rel=\"next\"").is_err());
        assert!(next("<http://r.example/v2>; rel=\"next\"").is_err());
        assert_eq!(next_page(&current, &HeaderMap::new(), &context).unwrap(), None);
    }
}
