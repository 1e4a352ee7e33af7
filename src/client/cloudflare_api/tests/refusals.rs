//! Every row of the table of error codes, and the answers that are none.

use super::server::{Act, KEY, TOKEN, answer, client, good, refused, server, token, words};
use super::*;

/// What a question about a tunnel comes to when this is answered.
async fn tunnel(act: impl Fn() -> Act + Send + Sync + 'static) -> ApiError {
    let server = server(move |_| act()).await;
    let error = server.api().tunnel(ACCOUNT, TUNNEL).await.unwrap_err();
    words(&error);
    error
}

#[tokio::test]
async fn codes() {
    let lacks = "MissingPermission { needs: TunnelRead }";
    let table = [
        (400, 6003, "Invalid request headers", "BadToken(Malformed)"),
        (400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers", "NoCredentials"),
        (400, 9103, "Unknown X-Auth-Key or X-Auth-Email", "BadToken(UnknownKey)"),
        (403, 9103, "Unknown X-Auth-Key or X-Auth-Email", "BadToken(UnknownKey)"),
        (403, 9109, "Invalid access token", "BadToken(Invalid)"),
        (403, 9109, "Unauthorized to access requested resource", "WrongAccount"),
        (401, 10_000, "Authentication error", lacks),
        (403, 10_000, "Authentication error", lacks),
        (403, 10_000, "Forbidden", lacks),
        (200, 10_000, "Authentication error", lacks),
        (401, 1000, "Invalid API Token", "BadToken(Invalid)"),
        (403, 1000, "Invalid API Token", "BadToken(Invalid)"),
        (400, 7003, "Could not route to /x, perhaps your object identifier is invalid?", "BadId"),
        (404, 7003, "Could not route to /x, perhaps your object identifier is invalid?", "BadId"),
        (404, 7000, "No route for that URI", "BadId"),
        (404, 1000, "tunnel not found", "NotFound"),
        (404, 1003, "tunnel not found", "NotFound"),
        (404, 1004, "tunnel not found", "NotFound"),
        (404, 0, "", "NotFound"),
        (401, 4711, "No", "BadToken(Invalid)"),
        // Known only where accounts are listed.
        (400, 1001, "bad", r#"Refused { status: 400, code: Some(1001), message: "bad" }"#),
        (200, 1000, "odd", r#"Refused { status: 200, code: Some(1000), message: "odd" }"#),
        (500, 4711, "oh\\nno", r#"Refused { status: 500, code: Some(4711), message: "oh no" }"#),
    ];
    for (status, code, message, wanted) in table {
        let error = tunnel(move || refused(status, code, message)).await;
        assert_eq!(format!("{error:?}"), wanted, "{status} {code} {message}");
        assert!(!error.advice().is_empty());
    }
}

#[tokio::test]
async fn the_missing_right_is_the_one_that_the_endpoint_wants() {
    let server = server(|_| refused(403, 10_000, "Authentication error")).await;
    let api = server.api();
    let tunnels = api.connections(ACCOUNT, TUNNEL).await.unwrap_err();
    assert_eq!(tunnels.to_string(), "the token lacks Account › Cloudflare Tunnel › Read");
    assert!(tunnels.advice().contains("add Account › Cloudflare Tunnel › Read"));
    for (error, right) in [
        (api.configuration(ACCOUNT, TUNNEL).await.unwrap_err(), Permission::TunnelRead),
        (api.accounts().await.unwrap_err(), Permission::AccountSettingsRead),
        (api.zones("example.com").await.unwrap_err(), Permission::ZoneRead),
        (api.records("z", "example.com").await.unwrap_err(), Permission::DnsRead),
    ] {
        let ApiError::MissingPermission { needs } = error else { panic!("{error:?}") };
        assert_eq!(needs, right);
    }
    let error = api.verify(None).await.unwrap_err();
    assert!(matches!(error, ApiError::BadToken(Fault::Invalid)), "{error:?}");
}

#[tokio::test]
async fn an_accounts_token_may_not_list_accounts() {
    let words = "List accounts endpoint does not support account owned tokens.";
    let server = server(|_| refused(400, 1001, words)).await;
    for error in
        [server.api().accounts().await.unwrap_err(), server.api().find_tunnel(TUNNEL).await.unwrap_err()]
    {
        assert!(matches!(error, ApiError::AccountsNotListable), "{error:?}");
        assert!(error.advice().contains("set the account's id"));
    }
}

#[tokio::test]
async fn reasons_in_any_form() {
    let cases = [
        (r#"{"success":false,"errors":["no"],"messages":["a",{"code":1}]}"#, "code: None, message: \"no\""),
        (
            r#"{"success":false,"errors":[7,null,{"code":"81","message":"b"}]}"#,
            "code: Some(81), message: \"b\"",
        ),
        (
            r#"{"success":false,"errors":[{"code":1.5,"message":["x"]}]}"#,
            "code: None, message: \"no reason given\"",
        ),
        (r#"{"success":false,"errors":null,"result":{}}"#, "code: None, message: \"no reason given\""),
        (r#"{"success":false,"errors":{"code":1}}"#, "code: None, message: \"no reason given\""),
        (r#"{"success":false}"#, "code: None, message: \"no reason given\""),
        (r#"{"errors":[{"message":"m"}],"result":null}"#, "code: None, message: \"m\""),
        (r#"{"success":"maybe","errors":[{"message":"m"}]}"#, "code: None, message: \"m\""),
    ];
    for (body, wanted) in cases {
        let error = tunnel(move || answer(200, "", body)).await;
        assert_eq!(format!("{error:?}"), format!("Refused {{ status: 200, {wanted} }}"), "{body}");
    }
    // The code that says what is wrong may stand below another, or in quotes.
    let chain = r#"{"success":false,"errors":[{"code":4711,"message":"m","error_chain":[{"code":"6111"}]}]}"#;
    let error = tunnel(move || answer(400, "", chain)).await;
    assert!(matches!(error, ApiError::BadToken(Fault::Malformed)), "{error:?}");
    // Success is what body and status say together.
    let error = tunnel(|| answer(503, "", r#"{"success":true,"errors":[],"result":{"id":"a"}}"#)).await;
    assert!(matches!(error, ApiError::Refused { status: 503, code: None, .. }), "{error:?}");
}

#[tokio::test]
async fn messages_may_be_texts_or_objects_or_missing() {
    let server = server(|target| match target.rsplit('/').next().unwrap() {
        "texts" => answer(200, "", r#"{"success":true,"messages":["m"],"result":{"id":"a"}}"#),
        "objects" => answer(200, "", r#"{"success":true,"messages":[{"code":1}],"result":{"id":"a"}}"#),
        _ => answer(200, "", r#"{"result":{"id":"a"}}"#),
    })
    .await;
    for case in ["texts", "objects", "missing"] {
        assert_eq!(server.api().tunnel(ACCOUNT, case).await.unwrap().id, "a", "{case}");
    }
}

#[tokio::test]
async fn no_json_and_not_of_the_form() {
    let html = "<!DOCTYPE html><html>not-a-real page</html>";
    for (status, body) in [(502, html), (404, html), (403, html), (200, html), (200, ""), (301, "")] {
        let error = tunnel(move || answer(status, "", body)).await;
        assert!(matches!(error, ApiError::NotJson { status: said } if said == status), "{error:?}");
    }
    for cut in [r#"{"success":true,"result":{"id":"a""#, r#"{"success":true,"result":{"id":"a"}} and"#] {
        let error = tunnel(move || answer(200, "", cut)).await;
        assert!(matches!(error, ApiError::NotJson { status: 200 }), "{error:?}");
    }
    for other in [r#""text""#, "17", "[]", "{}", "null", r#"{"result":null}"#, r#"{"success":true}"#] {
        let error = tunnel(move || answer(200, "", other)).await;
        assert!(matches!(error, ApiError::Unexpected { .. }), "{other}: {error:?}");
    }
    for result in ["null", "[]", "{}", r#"{"id":null}"#, r#"{"id":"a","deleted_at":{}}"#] {
        let error = tunnel(move || good(result)).await;
        assert!(matches!(error, ApiError::Unexpected { .. }), "{result}: {error:?}");
    }
    let deep = "[".repeat(100_000);
    let error = tunnel(move || answer(200, "", &deep)).await;
    assert!(matches!(error, ApiError::NotJson { .. }), "{error:?}");
}

#[tokio::test]
async fn outside_text_is_short_and_holds_no_secret() {
    let long = "x".repeat(10_000);
    let error = tunnel(move || refused(500, 1, &format!("\\u001b[31m {long}"))).await;
    let ApiError::Refused { message, .. } = error else { panic!("{error:?}") };
    assert_eq!((message.chars().count(), message.contains('\u{1b}')), (200, false));

    let key = Credentials::GlobalKey { email: "me@example.com".into(), key: KEY.into() };
    for (credentials, secret) in [(token(), TOKEN), (key, KEY)] {
        let server = server(move |target| match target.contains("zones") {
            true => good(&format!("\"{secret}\"")),
            // The bound would cut the secret in two.
            false => refused(400, 1, &format!("{}{secret}", "y".repeat(180))),
        })
        .await;
        let api = client(Some(credentials), &server.settings());
        words(&api.tunnel(ACCOUNT, TUNNEL).await.unwrap_err());
        let error = api.zones("example.com").await.unwrap_err();
        assert!(words(&error).contains("invalid type: string"), "{error}");
    }
}
