//! An error with its causes, in one line.

use std::error::Error;
use std::iter::successors;

/// What went wrong, then what caused it; a cause whose words were said already is not said again.
pub fn chain(error: &dyn Error) -> String {
    let causes = successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
