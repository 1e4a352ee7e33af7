//! A stand-in for Cloudflare's API on loopback, and clients that ask it.

use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use crate::client::tls::testing::Authority;

pub(crate) const TOKEN: &str = "cfut_this-is-not-a-real-token-0123456789";
pub(crate) const KEY: &str = "cfk_this-is-not-a-real-key-0123456789";

/// What the server does with a request.
pub(crate) enum Act {
    /// Answers with these bytes and closes.
    Say(Vec<u8>),
    /// Reads and never answers.
    Mute,
}

pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    Act::Say([head.as_bytes(), body.as_bytes()].concat())
}

pub(crate) fn good(result: &str) -> Act {
    answer(200, "", &format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}}}"#))
}

pub(crate) fn refused(status: u16, code: i64, message: &str) -> Act {
    let error = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    answer(status, "", &format!(r#"{{"success":false,"errors":[{error}],"messages":[],"result":null}}"#))
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

/// Serves; `act` is given the path and query.
pub(crate) async fn server(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (act, requests) = (Arc::new(act), heard.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, act.clone(), requests.clone()));
        }
    });
    Server { address, heard }
}

async fn serve(mut stream: TcpStream, act: Arc<impl Fn(&str) -> Act>, heard: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let target = request.split(' ').nth(1).unwrap().strip_prefix("/client/v4").unwrap().to_owned();
    heard.lock().unwrap().push(request);
    match act(&target) {
        Act::Say(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
        }
        Act::Mute => std::future::pending().await,
    }
}

impl Server {
    /// The requests so far, as they came.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn settings(&self) -> ApiSettings {
        ApiSettings { base: format!("http://{}/client/v4", self.address), ..ApiSettings::default() }
    }

    /// A client with a token and no budget.
    pub(crate) fn api(&self) -> CloudflareApi {
        client(Some(token()), &self.settings())
    }
}

pub(crate) fn token() -> Credentials {
    Credentials::Token(TOKEN.into())
}

pub(crate) fn client(credentials: Option<Credentials>, settings: &ApiSettings) -> CloudflareApi {
    let dns = Arc::new(Dns::from_file("/nonexistent/resolv.conf".into()));
    CloudflareApi::new(&Authority::new().tls, dns, "tunnelwarden/0.0.0", credentials, settings).unwrap()
}

/// Everything that anybody could print of an error; none of it may hold a secret.
pub(crate) fn words(error: &ApiError) -> String {
    let mut all = format!("{error:?}\n{error:#?}\n{error}\n{}\n", error.advice());
    let mut next = error.source();
    while let Some(cause) = next {
        all += &format!("{cause}\n{cause:?}\n");
        next = cause.source();
    }
    for secret in ["cfut_", "cfk_", "not-a-real"] {
        assert!(!all.contains(secret), "{all}");
    }
    assert!(!error.to_string().contains(char::is_control), "{error}");
    all
}
