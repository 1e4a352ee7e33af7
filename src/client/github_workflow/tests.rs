use std::path::Path;

use super::*;

fn parsed(text: &str) -> Workflow {
    parse(Path::new("a.yml"), text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn everything_has_its_line() {
    let workflow = parsed(
        "on: push\nenv:\n  A: no\n  B: 10\njobs:\n  one:\n    permissions:\n      contents: read\n    steps:\n      - name: x\n        run: |\n\n          first\n\n          second\n      - run: lone\n      - run: >\n          folded\n          text\n      - run: \"quoted\\nlines\"\n",
    );
    assert_eq!(
        workflow.env.iter().map(|(name, value)| (name.line, value.text.as_str())).collect::<Vec<_>>(),
        [(3, "no"), (4, "10")]
    );
    let job = &workflow.jobs[0];
    assert_eq!((job.id.line, job.permissions.as_ref().map(|permissions| permissions.line)), (6, Some(7)));
    let scripts: Vec<_> = job.steps.iter().filter_map(|step| step.run.as_ref()).collect();
    let second = scripts[0].text.lines().position(|line| line == "second").unwrap();
    assert_eq!(scripts[0].line_of(second), 15);
    assert_eq!(scripts[1].line_of(0), 16);
    assert_eq!((scripts[2].line_of(1), scripts[2].literal), (18, false));
    assert_eq!((scripts[3].line_of(1), scripts[3].literal), (20, false));
}

#[test]
fn anchors_are_followed_and_words_stay_words() {
    let workflow = parsed(
        "on: &x [push]\nyes: no\njobs:\n  a: &a\n    needs: b\n    environment: on\n    steps:\n      - run: true\n  b: *a\n",
    );
    assert_eq!(workflow.jobs.len(), 2);
    assert_eq!(workflow.jobs[1].steps[0].run.as_ref().unwrap().text, "true");
    assert!(workflow.jobs[0].has_environment && workflow.jobs[0].needs == ["b"]);
}
