//! Rows of numbers.

/// A measured value beside its limit: `0.42 of the limit`.
pub(super) fn limit(what: &str, value: f64, unit: &str, limit: f64) {
    let word = if value <= limit { "within" } else { "MISSED" };
    println!("  {what:<44} {value:>9.3} {unit:<10} {:>5.2} of the limit {limit} {word}", value / limit);
}

/// A measured value beside a floor.
pub(super) fn floor(what: &str, value: f64, unit: &str, floor: f64) {
    let word = if floor <= value { "within" } else { "MISSED" };
    println!("  {what:<44} {value:>9.3} {unit:<10} {:>5.2} of the floor {floor} {word}", value / floor);
}

/// The middle one; not a number if there is none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
