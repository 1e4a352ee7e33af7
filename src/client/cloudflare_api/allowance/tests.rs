use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn both_families_of_headers() {
    let older = headers(&[
        ("date", "Mon, 23 Nov 2026 10:00:00 GMT"),
        ("x-ratelimit-limit", "1200"),
        ("x-ratelimit-remaining", "1199"),
        ("x-ratelimit-reset", "Mon, 23 Nov 2026 10:05:00 GMT"),
        ("ratelimit", "\"default\";r=1;t=2"),
    ]);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let wanted = Allowance { limit: Some(1200), remaining: Some(1199), resets_in: seconds(300) };
    assert_eq!(Allowance::of(&older), Some(wanted));

    let newer = headers(&[
        ("ratelimit", "\"burst\";r=90;t=3, \"default\"; r=50; t=30"),
        ("ratelimit-policy", "\"burst\";q=100;w=10, \"default\";q=1200;w=300"),
    ]);
    let wanted = Allowance { limit: Some(1200), remaining: Some(50), resets_in: seconds(30) };
    assert_eq!(Allowance::of(&newer), Some(wanted));

    let lone = headers(&[("ratelimit", "\"default\";r=50")]);
    let wanted = Allowance { limit: None, remaining: Some(50), resets_in: None };
    assert_eq!(Allowance::of(&lone), Some(wanted));
    for garbage in ["", "x", ";;", "\"default\";r=-1", "r=5", ",,;r"] {
        assert_eq!(Allowance::of(&headers(&[("ratelimit", garbage)])), None, "{garbage}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_slides() {
    let second = Duration::from_secs(1);
    let mut gate = Gate::new(Budget::AtMost { requests: 2, per: 10 * second });
    let start = Instant::now();
    gate.pass(start).unwrap();
    gate.pass(start + 4 * second).unwrap();
    let refused = gate.pass(start + 9 * second).unwrap_err();
    assert!(matches!(refused, ApiError::Budget { until } if until == start + 10 * second));
    gate.pass(start + 10 * second).unwrap();
    let refused = gate.pass(start + 10 * second).unwrap_err();
    assert!(matches!(refused, ApiError::Budget { until } if until == start + 14 * second));
    let refused = Gate::new(Budget::AtMost { requests: 0, per: second }).pass(start).unwrap_err();
    assert!(matches!(refused, ApiError::Budget { until } if until == start + second));
}

#[tokio::test(start_paused = true)]
async fn silence_only_grows_and_ends() {
    let mut gate = Gate::new(Budget::Unlimited);
    let now = Instant::now();
    gate.heard(now, 429, &headers(&[("retry-after", "100")])).unwrap_err();
    gate.heard(now, 200, &headers(&[("ratelimit", "\"default\";r=0;t=5")])).unwrap();
    gate.heard(now, 429, &headers(&[("retry-after", "0")])).unwrap_err();
    let until = now + Duration::from_secs(100);
    assert_eq!(gate.silenced(now), Some(until));
    assert!(matches!(gate.pass(now), Err(ApiError::Silenced { until: said }) if said == until));
    assert_eq!(gate.silenced(until), None);
    gate.pass(until).unwrap();
}
