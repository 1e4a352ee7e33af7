use super::*;

const EDGE: [(&str, &str); 2] = [("server", "cloudflare"), ("cf-ray", "99bab003ad3211f1-LAX")];
const HTML: (&str, &str) = ("content-type", "text/html; charset=UTF-8");
const PLAIN: (&str, &str) = ("content-type", "text/plain; charset=UTF-8");
const DYNAMIC: (&str, &str) = ("cf-cache-status", "DYNAMIC");

/// Status, headers beside the edge's own, body; what it means.
type Case<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, Answer);

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(k, v)| {
            let name = reqwest::header::HeaderName::from_bytes(k.as_bytes()).unwrap();
            (name, reqwest::header::HeaderValue::from_str(v).unwrap())
        })
        .collect()
}

/// An answer of the edge with some more headers.
fn edge(status: u16, more: &[(&str, &str)], body: &str) -> (Answer, Option<u16>) {
    let headers: Vec<_> = EDGE.iter().chain(more).copied().collect();
    classify(status, &map(&headers), body.as_bytes())
}

fn page(title: &str, code: &str, text: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<!--[if lt IE 7]> <html class=\"no-js ie6\"> <![endif]-->\n<head>\n<title>{title}</title>\n\
         <style>.x{{width:1033px}}</style></head><body><div id=\"cf-wrapper\"><div id=\"cf-error-details\" \
         class=\"p-0\"><h1><span class=\"cf-error-type\">Error</span>\n<span class=\"cf-error-code\">{code}</span>\
         </h1><p>{text}</p><p>Ray ID: 99bab10331033</p></div></div></body></html>"
    )
}

#[test]
fn tunnel_error_in_every_form() {
    let json = r#"{"type":"https://developers.cloudflare.com/x/error-1033/","title":"Error 1033: Cloudflare Tunnel error",
        "status":530,"error_code":1033,"error_name":"tunnel_error","cloudflare_error":true,"retry_after":120}"#;
    let markdown = "---\nerror_code: 1033\nerror_name: tunnel_error\nstatus: 530\ncloudflare_error: true\n\
                    retry_after: 120\n---\n\n# Error 1033: Cloudflare Tunnel error\n";
    let old = page("Argo Tunnel error | app.example.com | Cloudflare", "1033", "x");
    let new = page("Cloudflare Tunnel error | app.example.com | Cloudflare", "1033", "x");
    let span = page("Oops", "1033", "x");
    let sentence =
        page("Oops", "", "app.example.com is configured as a Cloudflare Tunnel, but unable to resolve it.");
    let cases: &[(u16, (&str, &str), &str)] = &[
        (530, PLAIN, "error code: 1033"),
        (530, PLAIN, "error code: 1033\n"),
        (530, HTML, "error code: 1033"),
        // A custom error rule may change the status.
        (503, PLAIN, "error code: 1033"),
        (404, PLAIN, "error code: 1033"),
        (530, HTML, &old),
        (530, HTML, &new),
        (530, HTML, &span),
        (530, HTML, &sentence),
        (530, ("content-type", "application/json; charset=utf-8"), json),
        (530, ("content-type", "application/problem+json; charset=utf-8"), json),
        (530, ("content-type", "text/markdown; charset=utf-8"), markdown),
    ];
    for (status, kind, body) in cases {
        assert_eq!(
            edge(*status, &[*kind], body),
            (Answer::TunnelError, Some(1033)),
            "{status} {kind:?} {body}"
        );
    }
    // Without any content type, too.
    assert_eq!(edge(530, &[], "error code: 1033"), (Answer::TunnelError, Some(1033)));
}

#[test]
fn what_is_not_a_tunnel_error() {
    let quoted = page("Our post mortem", "", "We saw error code: 1033 everywhere, Ray ID 1033.");
    let json = r#"{"error_code":1033}"#;
    let cases: &[Case<'_>] = &[
        // A healthy page that quotes the error.
        (200, &[PLAIN], "error code: 1033", Answer::Served),
        (200, &[HTML], &page("Cloudflare Tunnel error | x | Cloudflare", "1033", "x"), Answer::Served),
        // The origin has answered, whatever it says.
        (530, &[PLAIN, DYNAMIC], "error code: 1033", Answer::Served),
        (502, &[PLAIN, DYNAMIC], "error code: 1033", Answer::OriginError),
        (530, &[PLAIN, ("cf-cache-status", "MISS")], "error code: 1033", Answer::Served),
        // The number alone.
        (530, &[HTML], "<html>1033</html>", Answer::EdgeError),
        (530, &[PLAIN], "1033", Answer::EdgeError),
        (500, &[PLAIN], "order error code: 1033 items", Answer::Served),
        (500, &[PLAIN], "error code: 1033 again", Answer::Served),
        (404, &[HTML], &quoted, Answer::Served),
        (404, &[HTML], "<p>it is configured as a Cloudflare Tunnel</p>", Answer::Served),
        (404, &[HTML], "<title>Fix the Cloudflare Tunnel error | My blog</title>", Answer::Served),
        (400, &[("content-type", "application/json")], json, Answer::Served),
        (
            530,
            &[("content-type", "application/json")],
            "{\"cloudflare_error\":true,\"error_code\":99999}",
            Answer::EdgeError,
        ),
        (530, &[("content-type", "text/markdown")], "---\nerror_code: 1033\n---\n", Answer::EdgeError),
        (530, &[HTML], "", Answer::EdgeError),
    ];
    for (status, more, body, expected) in cases {
        assert_eq!(edge(*status, more, body), (*expected, None), "{status} {more:?} {body}");
    }
}

#[test]
fn not_the_edge() {
    let blind = (Answer::Blind(BlindReason::NotEdge), None);
    assert_eq!(classify(530, &map(&[PLAIN]), b"error code: 1033"), blind);
    assert_eq!(classify(200, &map(&[("server", "nginx")]), b"Please log in to the hotel"), blind);
    assert_eq!(classify(302, &map(&[("location", "http://portal.hotel/")]), b""), blind);
    // One of the two headers: from the edge, but not enough for an error code.
    assert_eq!(classify(200, &map(&EDGE[..1]), b""), (Answer::Served, None));
    assert_eq!(classify(530, &map(&EDGE[1..]), b"error code: 1033"), (Answer::EdgeError, None));
    assert_eq!(classify(530, &map(&EDGE[..1]), b"error code: 1033"), (Answer::EdgeError, None));
}

#[test]
fn other_codes() {
    let cases = [
        (530, 1016, Answer::DnsError),
        (409, 1001, Answer::EdgeError),
        (403, 1000, Answer::EdgeError),
        (403, 1014, Answer::EdgeError),
        (530, 1101, Answer::EdgeError),
        (429, 1015, Answer::Challenge),
        (403, 1010, Answer::Challenge),
        (403, 1020, Answer::Challenge),
        (403, 1006, Answer::Challenge),
        (429, 1027, Answer::EdgeError),
        (502, 502, Answer::OriginError),
        (504, 504, Answer::OriginError),
        (522, 522, Answer::EdgeError),
        (520, 520, Answer::EdgeError),
    ];
    for (status, code, expected) in cases {
        let plain = edge(status, &[PLAIN], &format!("error code: {code}"));
        assert_eq!(plain, (expected, Some(code)), "{status} {code}");
        let html =
            edge(status, &[HTML], &page("DNS problem | example.com | Cloudflare", &code.to_string(), "x"));
        assert_eq!(html, (expected, Some(code)), "{status} {code} html");
    }
    assert_eq!(edge(530, &[HTML, ("cf-error-type", "1016")], "my own page"), (Answer::DnsError, Some(1016)));
}

#[test]
fn by_status() {
    let branded =
        page("example.com | 502: Bad gateway | Cloudflare", "", "Unable to reach the origin service.");
    let trouble = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center>\
                   <hr><center>cloudflare</center></body></html>";
    let cases: &[Case<'_>] = &[
        (200, &[DYNAMIC], "hello", Answer::Served),
        (200, &[], "hello", Answer::Served),
        (204, &[], "", Answer::Served),
        (301, &[("location", "https://www.example.com/")], "", Answer::Served),
        (404, &[DYNAMIC], "", Answer::Served),
        (401, &[("www-authenticate", "Basic realm=\"x\"")], "", Answer::Served),
        (403, &[DYNAMIC], "forbidden", Answer::Served),
        (500, &[DYNAMIC], "stack trace", Answer::Served),
        (502, &[HTML], &branded, Answer::OriginError),
        (502, &[HTML, DYNAMIC], "<h1>502 Bad Gateway</h1><hr><center>nginx</center>", Answer::OriginError),
        (502, &[HTML], trouble, Answer::EdgeError),
        (503, &[], "", Answer::OriginError),
        (503, &[DYNAMIC], "", Answer::OriginError),
        (503, &[HTML], &page("x | 503 | Cloudflare", "", "x"), Answer::EdgeError),
        (504, &[HTML], "gateway", Answer::OriginError),
        (521, &[HTML], "x", Answer::EdgeError),
        (525, &[HTML], "x", Answer::EdgeError),
        (530, &[HTML], "our own maintenance page", Answer::EdgeError),
    ];
    for (status, more, body, expected) in cases {
        assert_eq!(edge(*status, more, body), (*expected, None), "{status} {more:?} {body}");
    }
}

#[test]
fn access() {
    let login = "https://acme.cloudflareaccess.com/cdn-cgi/access/login/app.example.com?kid=1";
    let cases: &[(u16, (&str, &str), &str, Answer)] = &[
        (302, ("location", login), "", Answer::Access),
        (303, ("location", login), "", Answer::Access),
        (
            302,
            ("location", "https://acme.fed.cloudflareaccess.com/cdn-cgi/access/login/x"),
            "",
            Answer::Access,
        ),
        (302, ("location", "/cdn-cgi/access/login/x"), "", Answer::Access),
        (
            302,
            ("location", "https://acme.cloudflareaccess.com.evil.test/cdn-cgi/access/login"),
            "",
            Answer::Served,
        ),
        (
            302,
            ("location", "https://example.com/?to=https://acme.cloudflareaccess.com/cdn-cgi/access/login"),
            "",
            Answer::Served,
        ),
        (302, ("location", "https://acme.cloudflareaccess.com/other"), "", Answer::Served),
        (401, ("www-authenticate", "Cloudflare-Access resource_metadata=x"), "", Answer::Access),
        (403, ("cf-access-aud", "abc"), "", Answer::Access),
        (403, HTML, "<title>Forbidden ・ Cloudflare Access</title>", Answer::Access),
    ];
    for (status, more, body, expected) in cases {
        assert_eq!(edge(*status, &[*more], body), (*expected, None), "{status} {more:?}");
    }
}

#[test]
fn challenge_and_cache() {
    let cases: &[Case<'_>] = &[
        (403, &[("cf-mitigated", "challenge"), HTML], "<title>Just a moment...</title>", Answer::Challenge),
        (429, &[("cf-mitigated", "challenge")], "", Answer::Challenge),
        (403, &[HTML], "<title>Attention Required! | Cloudflare</title>", Answer::Challenge),
        (200, &[("cf-cache-status", "HIT"), ("age", "12")], "x", Answer::Cached),
        (200, &[("cf-cache-status", "stale")], "x", Answer::Cached),
        (200, &[("cf-cache-status", "UPDATING")], "x", Answer::Cached),
        (200, &[("cf-cache-status", "REVALIDATED")], "x", Answer::Cached),
        (301, &[("cf-cache-status", "NONE")], "", Answer::Cached),
        (200, &[("age", "0")], "x", Answer::Cached),
        (404, &[("cf-cache-status", "HIT")], "x", Answer::Cached),
        // The age of a cache at the origin.
        (200, &[DYNAMIC, ("age", "44")], "x", Answer::Served),
        (200, &[("cf-cache-status", "EXPIRED")], "x", Answer::Served),
        (200, &[("cf-cache-status", "BYPASS")], "x", Answer::Served),
    ];
    for (status, more, body, expected) in cases {
        assert_eq!(edge(*status, more, body), (*expected, None), "{status} {more:?}");
    }
}

#[test]
fn place() {
    assert_eq!(colo(&map(&EDGE)).as_deref(), Some("LAX"));
    for ray in ["99bab003ad3211f1", "x-", "x-lax", "x-LAXX", "-"] {
        assert_eq!(colo(&map(&[("cf-ray", ray)])), None, "{ray}");
    }
}

proptest::proptest! {
    #[test]
    fn any_answer_is_survived(
        status in 100u16..1000,
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        kind in "(text/html|text/markdown|application/json|text/plain|)",
        start in "(---\n|error code: |<title>|\\{\"cloudflare_error\":true,\"error_code\":|)",
    ) {
        let headers: Vec<_> = EDGE.into_iter().chain([("content-type", kind.as_str())]).collect();
        let body = [start.as_bytes(), &body].concat();
        let (answer, code) = classify(status, &map(&headers), &body);
        proptest::prop_assert!(answer != Answer::TunnelError || code == Some(1033));
    }

    #[test]
    fn a_success_is_never_an_error(status in 200u16..400, body in "\\PC*") {
        let (answer, _) = edge(status, &[PLAIN], &body);
        proptest::prop_assert_eq!(answer, Answer::Served);
    }
}
