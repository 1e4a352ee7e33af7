use super::*;

#[test]
fn functions_are_known_by_their_names() {
    let script = "ask() { curl \"$@\"; }\nfunction say-it { echo; }\nhost () (\n  ssh h\n)\nx=$(date)\n";
    assert_eq!(functions(script), ["ask", "host", "say-it"].map(str::to_owned).into());
    assert_eq!(functions("echo '()'; () ()"), BTreeSet::new());
}

fn told(script: &str) -> Vec<String> {
    let command = |command: &Command| {
        let words: Vec<_> = command.words.iter().map(|word| word.text.as_str()).collect();
        let out = command.output().map(|word| format!(" >{}", word.text)).unwrap_or_default();
        let fed: Vec<_> = command.fed.iter().flat_map(|word| word.variables.clone()).collect();
        let fed = if command.fed.is_empty() { String::new() } else { format!(" <<{}", fed.join(",")) };
        words.join("·") + &out + &fed
    };
    let line = |pipeline: &Pipeline| {
        let commands: Vec<_> = pipeline.commands.iter().map(command).collect();
        format!("{}{}: {}", if pipeline.captured { "*" } else { "" }, pipeline.line(), commands.join(" | "))
    };
    pipelines(script).iter().map(line).collect()
}

#[test]
fn words_pipes_and_lines() {
    assert_eq!(
        told(
            "set -eu # not this\nprintf %s \"$A\" |\n  sudo -E kubectl create \\\n  secret 'a b' && echo \"x\"y\n"
        ),
        ["0: set·-eu", "1: printf·%s·$A | kubectl·create·secret·a b", "3: echo·xy"]
    );
    assert_eq!(
        told("A=b C=$(cat x) run\nif ! a; then b 2>&1 >/dev/null; fi"),
        ["*0: cat·x", "0: run", "1: a", "1: b >/dev/null"]
    );
    assert_eq!(told("a || b & c; d | e |& f"), ["0: a", "0: b", "0: c", "0: d | e | f"]);
}

#[test]
fn what_is_put_in_is_known() {
    let found = pipelines(
        "cmd \"$A-${B:-x}\" '$C' \"\\$D\" ${{ secrets.E }} \"$(cat $F)\" `cat $G` ${#H} ${I:+set} $((J + 1))",
    );
    let last = found.last().unwrap();
    let names: Vec<_> = last.commands[0].words.iter().flat_map(|word| word.variables.iter()).collect();
    assert_eq!(names, ["A", "B", "F", "G"]);
    assert!(last.commands[0].words.iter().any(|word| word.text == "${{ secrets.E }}"));
}

#[test]
fn here_documents_belong_to_their_command() {
    assert_eq!(
        told(
            "cat <<EOF > file\ntoken: $A\n  # no comment ${B}\nEOF\nnext <<-'E'\n\t$C\n\tE\ntail <<< \"$D\""
        ),
        ["0: cat >file <<A,B", "4: next <<", "7: tail <<D"]
    );
}

#[test]
fn groups_that_are_read_by_others_are_captured() {
    assert_eq!(told("{ echo a; echo b; } | c"), ["*0: echo·a", "*0: echo·b", "0: c"]);
    assert_eq!(
        told("(echo a) > f\n(echo b)"),
        ["*0: echo·a", "1: echo·b"][..]
            .to_vec()
            .into_iter()
            .flat_map(|line| if line == "*0: echo·a" { vec![line, "0:  >f"] } else { vec![line] })
            .collect::<Vec<_>>()
    );
    assert_eq!(told("f() { echo a; }\nf"), ["*0: echo·a", "1: f"]);
    assert_eq!(told("for x in a b; do echo $x; done | c"), ["*0: for·x·in·a·b", "*0: echo·$x", "0: c"]);
    assert_eq!(told("case $x in a) echo a ;; *) echo b ;; esac\nc"), ["0: echo·a", "0: echo·b", "1: c"]);
}

#[test]
fn anything_is_survived() {
    for odd in [
        "'", "\"", "$(", "`", "${", "${{", "<<", "<<E", ">", "|", "((", ")", "\\", "a <<E", "x=(", "$'\\",
        "case", "}}}",
    ] {
        pipelines(odd);
        pipelines(&odd.repeat(2000));
    }
}
