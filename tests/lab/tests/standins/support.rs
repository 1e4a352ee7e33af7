//! An edge, an origin and a connector on loopback, each with ports and files of its own.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

pub const TUNNEL: &str = "11111111-2222-4333-8444-555555555555";
pub const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const HOST: &str = "app.example.com";
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Far {
    pub dir: tempfile::TempDir,
    pub tunnel: SocketAddr,
    pub public: SocketAddr,
    edge: Child,
}

impl Far {
    /// An edge that is ready to be dialled; `extra` are more of its flags.
    pub async fn start(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tunnel, public) = (free_port(), free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let edge = Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["run", "--host", HOST, "--tunnel-id", TUNNEL, "--tunnel-secret", SECRET])
            .args(["--pki", &path("pki"), "--control", &path("control"), "--events", &path("events")])
            .args(["--tunnel", &tunnel.to_string(), "--public", &public.to_string()])
            .args(extra)
            .spawn()
            .unwrap();
        let far = Self { dir, tunnel, public, edge };
        let reachable = || async { TcpStream::connect(far.public).is_ok() && far.path("control").exists() };
        eventually("the edge listens", reachable).await;
        far
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One command to the control socket.
    pub async fn order(&self, command: &str) -> Value {
        let answer = tunnelwarden_lab::edge::control::send(&self.path("control"), command).await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    pub async fn routed(&self) -> u64 {
        self.order("status").await["routed"].as_u64().unwrap()
    }

    /// Status and body of a visitor's request.
    pub async fn visit(&self, path: &str, accept: &str) -> (u16, String) {
        let response = self.response(path, accept).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn response(&self, path: &str, accept: &str) -> reqwest::Response {
        let url = format!("https://{HOST}:{}{path}", self.public.port());
        self.client().get(url).header("accept", accept).send().await.unwrap()
    }

    /// Status and body of what comes back for a body.
    pub async fn post(&self, body: Vec<u8>) -> (u16, Vec<u8>) {
        let url = format!("https://{HOST}:{}/", self.public.port());
        let response = self.client().post(url).body(body).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    fn client(&self) -> reqwest::Client {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(&fs::read(self.path("pki/ca.pem")).unwrap()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([ca])
            .resolve(HOST, self.public)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap()
    }

    /// Whether a visitor gets this status now.
    pub async fn shows(&self, status: u16) -> bool {
        self.visit("/", "*/*").await.0 == status
    }

    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("events")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.edge.kill();
        let _ = self.edge.wait();
    }
}

/// A connector process.
pub struct Near {
    pub metrics: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Near {
    /// A connector of `far` with an origin at `origin`.
    pub fn start(far: &Far, protocol: &str, origin: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let config = format!(
            "tunnel: {TUNNEL}\ncredentials-file: {}\ngrace-period: 10s\ningress:\n  - hostname: {HOST}\n    service: http://{origin}\n  - service: http_status:404\n",
            far.path("credentials.json").display()
        );
        let credentials = format!(r#"{{"AccountTag":"a","TunnelSecret":"{SECRET}","TunnelID":"{TUNNEL}"}}"#);
        if !far.path("credentials.json").exists() {
            fs::write(far.path("credentials.json"), credentials).unwrap();
        }
        fs::write(far.path("config.yml"), config).unwrap();
        let metrics = free_port();
        let log = far.path(&format!("log-{}", metrics.port()));
        // Under `nohup` it would inherit that a hangup is ignored.
        let child = Command::new("env")
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_cloudflared")])
            .args(["--no-autoupdate", "--config", &far.path("config.yml").display().to_string()])
            .args(["--edge", &far.tunnel.to_string(), "--edge", &far.tunnel.to_string()])
            .args(["--metrics", &metrics.to_string(), "tunnel", "run"])
            .env("TUNNEL_CACERT", far.path("pki/ca.pem"))
            .env("TUNNEL_TRANSPORT_PROTOCOL", protocol)
            .env("STANDIN_SEED", "1")
            .envs(environment.iter().copied())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { metrics, log, child }
    }

    pub async fn start_connected(
        far: &Far,
        protocol: &str,
        origin: SocketAddr,
        environment: &[(&str, &str)],
    ) -> Self {
        let near = Self::start(far, protocol, origin, environment);
        eventually("four connections are ready", || async { near.ready() == Some((200, 4)) }).await;
        near
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Status and connections of `/ready`.
    pub fn ready(&self) -> Option<(u16, u64)> {
        let (status, body) = get(self.metrics, "/ready")?;
        let body: Value = serde_json::from_str(&body).ok()?;
        assert_eq!(body["status"], status);
        Some((status, body["readyConnections"].as_u64()?))
    }

    pub fn local(&self, path: &str) -> String {
        get(self.metrics, path).unwrap().1
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: a signal to a child of ours that was not yet waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, number) }, 0);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Exit code or signal, once it has ended.
    pub async fn end(&mut self) -> (Option<i32>, Option<i32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), status.signal());
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connector run to its end: exit code, standard output and error.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cloudflared"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("TUNNEL_TOKEN")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// An origin that says hello to everybody.
pub fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    address
}

/// An origin that sends back what it is sent, over a WebSocket, too.
pub fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            if head.contains("\r\nupgrade: websocket\r\n") {
                assert!(head.contains("\r\nsec-websocket-key: "), "{head}");
                let _ = stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: lab\r\n\r\n",
                );
                let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
                continue;
            }
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            let _ = stream.read_exact(&mut body);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        }
    });
    address
}

/// A loopback port that is free for TCP and UDP.
pub fn free_port() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Waits until the condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A file with this content beside the others.
pub fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}
