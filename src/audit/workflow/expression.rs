//! Expressions of GitHub's, `${{ … }}`: which secrets and variables they put into a text.

/// GitHub's own token, made for each run and gone after it.
const OWN: &str = "GITHUB_TOKEN";

/// What an expression reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `secrets.NAME`, in capitals; never GitHub's own token.
    Secret(String),
    /// `toJSON(secrets)`: all of them.
    AllSecrets,
    /// `env.NAME`.
    Variable(String),
}

/// What the expressions in `text` read, each with the line within the text (from 0) and whether all that it gives is the value
/// itself: `${{ secrets.X != '' }}` tells nothing of it.
pub(super) fn sources(text: &str) -> Vec<(usize, Source)> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 0);
    while let Some(start) = text[at..].find("${{").map(|start| at + start) {
        let end = text[start..].find("}}").map_or(text.len(), |end| start + end);
        line += text[at..start].matches('\n').count();
        let inner = &text[start + 3..end];
        if !is_comparison(inner) {
            found.extend(read(inner).into_iter().map(|source| (line, source)));
        }
        line += text[start..end].matches('\n').count();
        at = end;
    }
    found
}

fn is_comparison(inner: &str) -> bool {
    // `a && b || c` gives one of them, so only what ends in a truth value counts.
    (inner.contains("==") || inner.contains("!=")) && !inner.contains("&&") && !inner.contains("||")
}

fn read(inner: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let lower = inner.to_ascii_lowercase();
    for (context, rest_at) in positions(&lower) {
        let rest = &inner[rest_at..];
        let name = name_of(rest);
        let source = match (context, name) {
            ("secrets", Some(name)) if name == OWN => continue,
            ("secrets", Some(name)) => Source::Secret(name),
            ("secrets", None) => Source::AllSecrets,
            (_, Some(name)) => Source::Variable(name),
            (_, None) => continue,
        };
        if !found.contains(&source) {
            found.push(source);
        }
    }
    found
}

/// Where `secrets` and `env` stand as words of their own, and what comes after.
fn positions(lower: &str) -> Vec<(&'static str, usize)> {
    let mut found = Vec::new();
    for context in ["secrets", "env"] {
        let mut at = 0;
        while let Some(start) = lower[at..].find(context).map(|start| at + start) {
            let end = start + context.len();
            let before = lower[..start].chars().next_back();
            let after = lower[end..].chars().next();
            let word =
                |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            if !word(before) && before != Some('.') && !word(after) {
                found.push((context, end));
            }
            at = end;
        }
    }
    found
}

/// `.NAME` or `['NAME']`, in capitals.
fn name_of(rest: &str) -> Option<String> {
    let rest = rest.trim_start();
    let name = match rest.strip_prefix('.') {
        Some(name) => name,
        None => rest.strip_prefix('[')?.trim_start().strip_prefix('\'')?,
    };
    let name: String =
        name.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    (!name.is_empty()).then(|| name.to_ascii_uppercase())
}

/// Secrets whose value `text` takes in.
pub(super) fn secrets(text: &str) -> impl Iterator<Item = (usize, String)> {
    sources(text).into_iter().filter_map(|(line, source)| match source {
        Source::Secret(name) => Some((line, name)),
        Source::AllSecrets => Some((line, "all secrets".into())),
        Source::Variable(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_however_they_are_written() {
        let names =
            |text: &str| secrets(text).map(|(line, name)| format!("{line} {name}")).collect::<Vec<_>>();
        assert_eq!(names("a ${{ secrets.tunnel_token }}\n${{secrets['B']}}"), ["0 TUNNEL_TOKEN", "1 B"]);
        assert_eq!(names("${{ format('{0}', secrets.A) }} ${{ toJSON(secrets) }}"), ["0 A", "0 all secrets"]);
        assert_eq!(
            names("${{ secrets.A != '' }} ${{ secrets.GITHUB_TOKEN }} secrets.B ${{ vars.secrets }}"),
            Vec::<String>::new()
        );
        assert_eq!(names("${{ github.ref == 'x' && secrets.A || secrets.B }}"), ["0 A", "0 B"]);
        assert_eq!(sources("${{ env.X }}"), [(0, Source::Variable("X".into()))]);
        for odd in ["${{", "${{ secrets. ", "${{ secrets[ }}", "${{ é secrets.é }}", "}}${{"] {
            sources(odd);
        }
    }
}
