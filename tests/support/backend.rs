//! Real HTTP backends: processes of their own, so that `kill -9` is the real thing.
//!
//! A backend is this very test program, run again with one "test" selected: [`run_as_backend`] serves when the
//! environment says so, and is an empty test otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LISTEN: &str = "ROLLCALL_TEST_BACKEND";

/// One backend; killed when dropped.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Backend {
    /// Starts one on `address`, on a free port.
    pub fn start(address: Ipv4Addr) -> Backend {
        Backend::spawn(SocketAddr::from((address, 0)))
    }

    /// Starts `count` of them, on 127.0.0.11 and the addresses after it.
    pub fn several<const COUNT: usize>() -> [Backend; COUNT] {
        std::array::from_fn(|index| Backend::start(Ipv4Addr::new(127, 0, 0, 11 + u8::try_from(index).unwrap())))
    }

    /// Its address, as it stands in a zone and in an answer.
    pub fn ip(&self) -> Ipv4Addr {
        match self.address {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(_) => unreachable!("started on IPv4"),
        }
    }

    /// An entry of `backends = [ … ]`; `more` is e.g. `, weight = 3`.
    pub fn entry(&self, name: &str, more: &str) -> String {
        format!("{{ name = \"{name}\", address = \"{}\", port = {}{more} }}", self.ip(), self.address.port())
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same address and port.
    pub fn revive(&mut self) {
        assert!(self.process.is_none(), "it lives");
        *self = Backend::spawn(self.address);
    }

    fn spawn(address: SocketAddr) -> Backend {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "run_as_backend", "--nocapture", "--quiet"])
            .env(LISTEN, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("listening ").map(|address| address.parse().unwrap()))
            .expect("the backend says where it listens");
        Backend { address, process: Some(process) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The body of the test `run_as_backend` that every file of stories has: serves for ever if this process is a backend.
pub fn run_as_backend() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let listener = TcpListener::bind(&address).unwrap();
    // On a line of its own: the test harness has begun one.
    println!("\nlistening {}", listener.local_addr().unwrap());
    std::thread::spawn(|| {
        // Whoever started this holds the other end: a backend never outlives its test.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing is left to be written, and the main thread serves for ever"
        )]
        std::process::exit(0);
    });
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream));
    }
}

/// 200 to every request; a connection without one stays open, as a watch wants it.
fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
        if request.windows(4).any(|four| four == b"\r\n\r\n") {
            request.clear();
            let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
            if stream.write_all(reply).is_err() {
                return;
            }
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        }
    }
}
