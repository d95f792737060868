//! The `tls` check: a handshake, and how long the certificate still lasts.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::reason::{self, CONNECT_TIMEOUT};
use super::{Report, tcp, tls};
use crate::engine::probe::{CertificateProbe, ProbeSpec};

const HANDSHAKE_TIMEOUT: &str = "timed out in the TLS handshake";
const DAY: i64 = 24 * 3600;

pub(super) struct CertificateTarget {
    spec: Arc<ProbeSpec>,
    session: tls::Session,
    days: u32,
}

impl CertificateTarget {
    pub(super) fn new(spec: &Arc<ProbeSpec>, probe: &CertificateProbe) -> Result<CertificateTarget, String> {
        let session = tls::Session::new(&probe.tls, &probe.host, &[])?;
        Ok(CertificateTarget { spec: spec.clone(), session, days: probe.days })
    }
}

pub(super) async fn probe(target: &CertificateTarget) -> Report {
    let deadline = Instant::now() + target.spec.timing.timeout;
    let stream = match timeout_at(deadline, tcp::connect(target.spec.target, target.spec.source)).await {
        Err(_) => return Report::TimedOut(CONNECT_TIMEOUT.into()),
        Ok(Err(error)) => return reason::of_io(&error),
        Ok(Ok(stream)) => stream,
    };
    let stream = match timeout_at(deadline, target.session.handshake(stream)).await {
        Err(_) => return Report::TimedOut(HANDSHAKE_TIMEOUT.into()),
        Ok(Err(report)) => return report,
        Ok(Ok(stream)) => stream,
    };
    let (_, connection) = stream.get_ref();
    let Some(leaf) = connection.peer_certificates().and_then(|chain| chain.first()) else {
        return Report::Failed("the server showed no certificate".into());
    };
    // Probes may fail for want of a right clock; there is no other for dates.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    match X509Certificate::from_der(leaf) {
        Ok((_, certificate)) => judge(certificate.validity().not_after.timestamp(), now, target.days),
        Err(error) => Report::Failed(format!("the certificate cannot be read: {error}")),
    }
}

/// With `verify = false` nobody else looks at the date.
fn judge(not_after: i64, now: i64, days: u32) -> Report {
    let date = reason::date_of(not_after.max(0).unsigned_abs());
    let left = (not_after - now).div_euclid(DAY);
    let in_days = |left: i64| format!("{left} day{}", if left == 1 { "" } else { "s" });
    if not_after < now {
        return Report::Failed(format!("certificate expired {date}"));
    }
    if not_after - now < i64::from(days) * DAY {
        let reason = format!("certificate expires {date}, in {}; {} are wanted", in_days(left), in_days(days.into()));
        return Report::Failed(reason);
    }
    Report::Passed(format!("certificate valid until {date}, {} more", in_days(left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_to_the_second() {
        let expiry = 1_767_312_000; // 2026-01-02
        let failed = |text: &str| Report::Failed(text.to_owned());
        assert_eq!(judge(expiry, expiry + 1, 0), failed("certificate expired 2026-01-02"));
        assert_eq!(
            judge(expiry, expiry - 7 * DAY + 1, 7),
            failed("certificate expires 2026-01-02, in 6 days; 7 days are wanted")
        );
        let good = judge(expiry, expiry - 7 * DAY, 7);
        assert_eq!(good, Report::Passed("certificate valid until 2026-01-02, 7 days more".to_owned()));
        assert!(matches!(judge(expiry, expiry - 1, 0), Report::Passed(_)));
    }
}
