use super::keys::{self, KEYS};

/// The table of keys and the strict types must name the same things.
#[test]
fn every_key_of_the_table_is_merged() {
    let mut text = keys::defaults();
    for section in keys::LISTS {
        text.push_str(&format!("[[{section}]]\n"));
        for key in KEYS.iter().filter(|key| key.section == section) {
            text.push_str(&format!("{} = {}\n", key.name, key.example));
        }
    }
    let layer = super::file::layer(super::Text { path: "x".into(), text: text.clone() });
    assert!(layer.errors.is_empty(), "{:?}", layer.errors);
    super::written::merge([layer.values].into_iter())
        .map(drop)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
}

#[test]
fn every_key_is_in_the_packaged_file() {
    let packaged = include_str!("../../packaging/tunnelwarden.toml");
    let mut section = "";
    let mut found = Vec::new();
    for line in packaged.lines().filter_map(|line| line.strip_prefix('#')) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with(' ')
        {
            found.push((section, name));
        }
    }
    let expected: Vec<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(found, expected);
}

#[test]
fn examples_are_in_the_right_form() {
    for key in KEYS.iter().filter(|key| key.default.is_some()) {
        let text = format!("{}{} = {}", header(key.section), key.name, key.example);
        let layer = super::file::layer(super::Text { path: "x".into(), text });
        assert!(layer.errors.is_empty(), "{:?}", layer.errors);
    }
}

fn header(section: &str) -> String {
    if section.is_empty() { String::new() } else { format!("{}\n", keys::header(section)) }
}
