//! Lists of several pages, and the account that holds a tunnel.

use super::server::{Act, answer, good, refused, server};
use super::*;

fn page(ids: &[&str], info: &str) -> Act {
    let items: Vec<_> = ids.iter().map(|id| format!(r#"{{"id":"{id}","name":"n"}}"#)).collect();
    let (items, info) = (items.join(","), info.replace('\'', "\""));
    answer(200, "", &format!(r#"{{"success":true,"errors":[],"result":[{items}],"result_info":{info}}}"#))
}

fn number(target: &str) -> usize {
    target.split("page=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap()
}

async fn ids(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> (Result<String, ApiError>, usize) {
    let server = server(move |target| act(number(target))).await;
    let found = server.api().accounts().await;
    let ids = found.map(|all| all.into_iter().map(|account| account.id).collect::<Vec<_>>().join(" "));
    (ids, server.heard().len())
}

#[tokio::test]
async fn until_a_page_is_not_full() {
    // Cloudflare gives two to a page, whatever was asked.
    let (found, asked) = ids(|number| match number {
        1 => page(&["a", "b"], "{'page':1,'per_page':2,'count':2}"),
        2 => page(&["c", "d"], "{'page':2,'per_page':'2','count':'2'}"),
        _ => page(&["e"], "{'page':3,'per_page':2,'count':1}"),
    })
    .await;
    assert_eq!((found.unwrap().as_str(), asked), ("a b c d e", 3));
}

#[tokio::test]
async fn until_all_are_there() {
    let (found, asked) = ids(|number| match number {
        1 => page(&["a", "b"], "{'per_page':2,'count':2,'total_count':4}"),
        _ => page(&["c", "d"], "{'per_page':2,'count':2,'total_count':4}"),
    })
    .await;
    assert_eq!((found.unwrap().as_str(), asked), ("a b c d", 2));
}

#[tokio::test]
async fn until_nothing_is_there() {
    let (found, asked) = ids(|number| match number {
        1 => page(&["a"], "{'per_page':1,'count':1}"),
        _ => page(&[], "{'per_page':1,'count':1}"),
    })
    .await;
    assert_eq!((found.unwrap().as_str(), asked), ("a", 2));
    for info in ["null", "[]", "{}", "{'count':-1,'per_page':null}"] {
        let (found, asked) = ids(move |_| page(&["a"], info)).await;
        assert_eq!((found.unwrap().as_str(), asked), ("a", 1), "{info}");
    }
}

#[tokio::test]
async fn not_for_ever() {
    let (found, asked) = ids(|_| page(&["a"], "{'per_page':1,'count':1,'total_count':1000000}")).await;
    assert!(matches!(found, Err(ApiError::TooLarge)), "{found:?}");
    assert_eq!(asked, 20);
}

#[tokio::test]
async fn a_page_that_fails_leaves_no_half_list() {
    let (found, _) = ids(|number| match number {
        1 => page(&["a"], "{'per_page':1,'count':1}"),
        _ => refused(500, 1, "x"),
    })
    .await;
    assert!(matches!(found, Err(ApiError::Refused { .. })), "{found:?}");
}

async fn search(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Result<String, ApiError> {
    let server = server(move |target| match target.split('/').nth(2) {
        Some(account) => act(account),
        None => page(&["first", "second", "third"], "{}"),
    })
    .await;
    server.api().find_tunnel(TUNNEL).await.map(|(account, tunnel)| format!("{} {}", account.id, tunnel.id))
}

#[tokio::test]
async fn the_account_that_holds_a_tunnel() {
    let found = search(|account| match account {
        "first" => refused(404, 1003, "tunnel not found"),
        "second" => refused(403, 10_000, "Authentication error"),
        _ => good(r#"{"id":"t"}"#),
    })
    .await;
    assert_eq!(found.unwrap(), "third t");
}

#[tokio::test]
async fn no_account_holds_it() {
    let found = search(|_| refused(404, 1003, "tunnel not found")).await;
    assert!(matches!(found, Err(ApiError::NotFound)), "{found:?}");
    // One account was not looked into: that is not "not found".
    let found = search(|account| match account {
        "second" => refused(403, 9109, "Unauthorized to access requested resource"),
        _ => refused(404, 1003, "tunnel not found"),
    })
    .await;
    assert!(matches!(found, Err(ApiError::WrongAccount)), "{found:?}");
    let found = search(|account| match account {
        "second" => answer(502, "", "<html>"),
        _ => refused(404, 1003, "tunnel not found"),
    })
    .await;
    assert!(matches!(found, Err(ApiError::NotJson { status: 502 })), "{found:?}");
    let server = server(|_| page(&[], "{}")).await;
    let found = server.api().find_tunnel(TUNNEL).await;
    let lacking =
        matches!(found, Err(ApiError::MissingPermission { needs: Permission::AccountSettingsRead }));
    assert!(lacking, "{found:?}");
}
