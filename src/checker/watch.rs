//! `watch = true`: one idle connection to the target, whose end is a hint to probe at once and never a verdict.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::tcp;

/// How a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It never opened: no news, the interval goes on as it was.
    NotOpened,
    /// It was open and broke.
    Broken,
}

/// Holds the connection until it breaks. What the backend says (a banner, say) is read and forgotten.
pub(super) async fn hold(target: SocketAddr, source: Option<IpAddr>, opening: Duration) -> Ended {
    let Ok(Ok(mut stream)) = timeout(opening, tcp::connect(target, source)).await else {
        return Ended::NotOpened;
    };
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ended::Broken,
            Ok(_) => {}
        }
    }
}
