//! The tables below `tests/audit/ingress` were worked out with cloudflared 2026.8.2's own `ingress rule` and
//! `ingress validate`.

use super::path::{Covered, covered};
use super::service::{Refusal, service};
use super::*;
use crate::client::cloudflared_config::{OriginRequest, Written, WrittenRule};

fn lines(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().map(|line| line.split('\t').collect())
}

fn rule(hostname: &str, path: &str, service: &str) -> WrittenRule {
    let of = |text: &str| Written { line: 1, text: text.into() };
    WrittenRule {
        line: 1,
        hostname: of(hostname),
        path: of(path),
        service: of(service),
        ..WrittenRule::default()
    }
}

fn ingress(rules: Vec<WrittenRule>) -> (Ingress, Vec<Finding>) {
    Ingress::of(&IngressFile { rules, ..IngressFile::default() }, "config.yml")
}

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn the_matcher_is_that_of_cloudflared() {
    let table = include_str!("../../../tests/audit/ingress/matcher.tsv");
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in lines(table) {
        let [hostname, path, url, meets] = line.as_slice() else { panic!("{line:?}") };
        let mut rules = vec![rule(hostname, path, "http://a:1")];
        let single = matches!(*hostname, "" | "*") && path.is_empty();
        if !single {
            rules.push(rule("", "", "http_status:404"));
        }
        let (ingress, findings) = ingress(rules);
        assert_eq!(ids(&findings), [""; 0], "{line:?}");
        let hit = ingress.route(&Request::of(url).unwrap()).unwrap();
        if (hit.rule.number() == 1) != (*meets == "yes") {
            wrong.push(line.join("  "));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(200 < cases);
}

#[test]
fn patterns_are_refused_in_the_words_of_go() {
    for line in lines(include_str!("../../../tests/audit/ingress/patterns.tsv")) {
        let [pattern, words] = line.as_slice() else { panic!("{line:?}") };
        let found = Pattern::compile(pattern).err();
        assert_eq!(found.as_deref().unwrap_or("ok"), *words, "{pattern}");
    }
}

#[test]
fn services_are_refused_in_the_words_of_cloudflared() {
    for line in lines(include_str!("../../../tests/audit/ingress/services.tsv")) {
        let [text, words] = line.as_slice() else { panic!("{line:?}") };
        let text = text.replace("\\t", "\t");
        let none = OriginRequest::default();
        let found = match service(&text, &none, &none) {
            Ok(_) => "ok".to_owned(),
            Err(Refusal::Path { says, .. } | Refusal::Other(says)) => says,
        };
        assert_eq!(found, *words, "{text}");
    }
}

#[test]
fn hostnames_are_refused_in_the_words_of_cloudflared() {
    for line in lines(include_str!("../../../tests/audit/ingress/hostnames.tsv")) {
        let [name, words] = line.as_slice() else { panic!("{line:?}") };
        let (_, findings) = ingress(vec![rule(name, "", "http://a"), rule("", "", "http_status:404")]);
        let found = findings.first().map_or("ok", |finding| finding.what.as_str());
        assert!(
            found == *words || found == format!("cloudflared refuses rule #1: {words}."),
            "{name}: {found}"
        );
    }
}

#[test]
fn which_patterns_cover_which() {
    let covers = |outer: &[&str], inner: &str| {
        let outer: Vec<Pattern> = outer.iter().map(|text| Pattern::compile(text).unwrap()).collect();
        let outer: Vec<&Pattern> = outer.iter().collect();
        covered(&outer, Some(&Pattern::compile(inner).unwrap()))
    };
    let not = |path: &str| Covered::Not(path.to_owned());
    assert_eq!(covers(&["/"], "/api"), Covered::Yes);
    assert_eq!(covers(&["/api"], "^/api/tunnel"), Covered::Yes);
    assert_eq!(covers(&["^/api"], "/api"), not("//api"));
    assert_eq!(covers(&["^/api$"], "^/api"), not("/apia"));
    assert_eq!(covers(&["^/a", "^/b"], "^/[ab]"), Covered::Yes);
    assert_eq!(covers(&["^/a", "^/b"], "^/[abc]"), not("/c"));
    assert_eq!(covers(&["^/.*$"], "/"), Covered::Yes);
    assert_eq!(covers(&[], "^api"), Covered::Yes);
    assert_eq!(covers(&[], "\\.html$"), not("/.html"));
    assert_eq!(covers(&["(?i)^/API"], "^/api"), Covered::Yes);
    assert_eq!(covers(&["^/\\w+$"], "^/é$"), not("/é"));
    assert_eq!(covers(&[], &format!("^/(a|b)*a{}$", "(a|b)".repeat(14))), Covered::Unknown);
}

#[test]
fn all_of_a_file_that_cloudflared_refuses_is_told() {
    let (_, findings) =
        ingress(vec![rule("a.b:80", "*", "localhost:80"), rule("", "", "http://a/x"), rule("c", "", "")]);
    assert_eq!(
        ids(&findings),
        [
            "invalid-service",
            "hostname-with-port",
            "invalid-path",
            "service-with-path",
            "early-catch-all",
            "missing-service",
            "missing-catch-all"
        ]
    );
    assert_eq!(ids(&ingress(Vec::new()).1), ["no-rules"]);
}

#[test]
fn options_that_make_a_rule_invalid() {
    let file = crate::client::cloudflared_config::ingress(
        std::path::Path::new("c.yml"),
        "ingress:\n- hostname: a\n  service: socks-proxy\n  originRequest:\n    ipRules: [{prefix: 1.1.1.1/33}]\n- hostname: b\n  \
         service: anything at all\n  originRequest: {bastionMode: true}\n- hostname: c\n  service: http://c\n  \
         originRequest:\n    access: {required: true, audTag: [x]}\n- service: http_status:404\n",
    )
    .unwrap();
    let (ingress, findings) = Ingress::of(&file, "c.yml");
    assert_eq!(ids(&findings), ["invalid-service", "access-without-team"]);
    assert!(
        findings[0]
            .what
            .contains("unable to create ip rule for socks-proxy: unable to parse cidr: 1.1.1.1/33")
    );
    assert_eq!(ingress.rules()[1].service(), Some(&Service::Bastion));
}

#[test]
fn rules_that_no_request_meets() {
    let last = || rule("", "", "http_status:404");
    let of = |rules: Vec<WrittenRule>| {
        let (ingress, findings) = ingress(rules);
        assert_eq!(ids(&findings), [""; 0]);
        order::findings(&ingress).into_iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>()
    };
    let a = |path: &str, service: &str| rule("a.example.com", path, service);
    assert_eq!(
        of(vec![a("/", "http://w"), a("/api", "http://b"), last()]),
        [("rule-order", Severity::Error)]
    );
    assert_eq!(
        of(vec![a("/", "http://b"), a("/api", "http://b"), last()]),
        [("rule-order", Severity::Warning)]
    );
    assert_eq!(
        of(vec![a("^/x", "http://a"), a("^/x", "http://b"), last()]),
        [("shadowed-rule", Severity::Error)]
    );
    assert_eq!(
        of(vec![a("/api", "http://a"), a("^/api", "http://b"), last()]),
        [("rule-order", Severity::Error)]
    );
    assert_eq!(of(vec![a("/api", "http://b"), a("", "http://w"), last()]), []);
    let wide = rule("*.example.com", "", "http://w");
    assert_eq!(of(vec![wide, a("", "http://b"), last()]), [("rule-order", Severity::Error)]);
    assert_eq!(
        of(vec![a("^/[a-z]", "http://b"), a("^/[0-9]", "http://c"), a("^/[a-z0-9]", "http://w"), last()]),
        [("unreachable-rule", Severity::Error)]
    );
    assert_eq!(of(vec![rule("", "/", "http://w"), last()]), [("shadowed-rule", Severity::Warning)]);
    for name in ["*.Example.com", "*example.com", "*.môô.example.com", "a.example.com."] {
        assert_eq!(
            of(vec![rule(name, "", "http://a"), last()]),
            [("unreachable-rule", Severity::Error)],
            "{name}"
        );
    }
    assert_eq!(of(vec![rule("A.Example.com", "", "http://a"), last()]), []);
    assert_eq!(of(vec![a("^api", "http://a"), last()]), [("unreachable-rule", Severity::Error)]);
}

#[test]
fn paths_that_match_more_than_meant() {
    let of = |path: &str, next: &str| {
        let rules =
            vec![rule("a.b", path, "http://a"), rule("a.b", "", next), rule("", "", "http_status:404")];
        let (ingress, _) = ingress(rules);
        meaning::findings(&ingress).into_iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>()
    };
    assert_eq!(of("/api", "http://w"), [("path-unbound", Severity::Warning)]);
    assert_eq!(of("/api", "http://a"), [("path-unbound", Severity::Note)]);
    assert_eq!(of("^/api(/|$)", "http://w"), []);
    assert_eq!(of("/", "http://w"), []);
    assert_eq!(of("\\.html$", "http://w"), []);
    assert_eq!(of("^/index.html$", "http://w"), [("path-dot", Severity::Note)]);
    assert_eq!(of("^/.well-known/.*", "http://w"), []);
    assert_eq!(of("^/api/*", "http://w"), [("path-star", Severity::Note)]);
    assert_eq!(of("^/api/.*", "http://w"), []);
}

#[test]
fn a_request_is_what_a_browser_sends() {
    let sent = |url: &str| {
        let request = Request::of(url).unwrap().as_sent();
        (request.host().to_owned(), String::from_utf8_lossy(request.path()).into_owned())
    };
    assert_eq!(sent("https://App.Example.com:8443"), ("app.example.com".into(), "/".into()));
    assert_eq!(sent("https://môô.example.com/a%20b?c#d"), ("xn--m-xgaa.example.com".into(), "/a b".into()));
    assert_eq!(sent("https://[::1]:80/x"), ("::1".into(), "/x".into()));
    for (url, remedy) in [
        ("app.example.com/x", "write https://app.example.com/x"),
        ("ftp://a/x", "write https://a/x"),
        ("https:///x", "names no host"),
        ("https://a/%zz", "%25"),
        ("https://a/a b", "%20"),
        ("", "has no scheme"),
    ] {
        let error = Request::of(url).unwrap_err().to_string();
        assert!(error.contains(remedy), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_pattern_is_survived(text in "[a-c/.*+?(){}|^$\\[\\]\\\\:<>,0-9pPQExdwi=!é-]{0,14}") {
        if let Ok(pattern) = Pattern::compile(&text) {
            pattern.matches(b"/abc");
        }
    }

    #[test]
    fn any_url_is_survived(text in ".{0,30}") {
        Request::of(&text).ok();
        Request::of(&format!("https://{text}")).map(|request| request.as_sent()).ok();
    }

    /// What is said to be covered is covered, and a path that is named is one.
    #[test]
    fn coverage_agrees_with_matching(outer in "\\^?/[ab.]{0,2}[*$]?", inner in "\\^?/[ab.]{0,2}[*$]?", path in "/[ab/]{0,4}") {
        if let (Ok(outer), Ok(inner)) = (Pattern::compile(&outer), Pattern::compile(&inner)) {
            match covered(&[&outer], Some(&inner)) {
                Covered::Yes => {
                    proptest::prop_assert!(!inner.matches(path.as_bytes()) || outer.matches(path.as_bytes()));
                }
                Covered::Not(path) => {
                    proptest::prop_assert!(inner.matches(path.as_bytes()) && !outer.matches(path.as_bytes()));
                }
                Covered::Unknown => {}
            }
        }
    }
}
