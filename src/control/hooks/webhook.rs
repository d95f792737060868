//! One webhook: signed as <https://www.standardwebhooks.com> has it, so that receivers find a library for it.
//!
//! `webhook-signature: v1,BASE64` is HMAC-SHA256 over `id.timestamp.body`. The timestamp is that of the attempt: a receiver
//! that refuses old ones is safe from repetition by others, and takes ours. Neither proxy nor redirect is followed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use ring::hmac;

use crate::checker;
use crate::config::plan::HookSecret;

/// A receiver and the means to reach it.
pub(super) struct Webhook {
    client: Client,
    url: String,
    key: hmac::Key,
}

impl Webhook {
    pub(super) fn new(
        url: &str,
        secret: &HookSecret,
        ca: Option<Arc<[u8]>>,
        timeout: Duration,
    ) -> Result<Webhook, String> {
        let config = checker::client_tls(url.starts_with("https:"), ca)?;
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .timeout(timeout)
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("HTTP client: {error}"))?;
        Ok(Webhook { client, url: url.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &secret.0) })
    }

    /// One attempt; anything but a status of 200 to 299 is a failure.
    pub(super) async fn send(&self, id: &str, body: &[u8]) -> Result<(), String> {
        let timestamp =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string();
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", signature(&self.key, id, &timestamp, body))
            .body(body.to_vec());
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            // The address may hold a secret.
            Err(error) => Err(checker::error_words(&error.without_url())),
        }
    }
}

fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!("v1,{}", BASE64.encode(hmac::sign(key, &signed).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the page's own libraries, which all test with it.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
