//! Figures as a Markdown table.

use crate::bench::figures::Figures;
use crate::bench::goal::{Bound, Goal};

/// The table, and whether every goal is met. A goal without a figure is not met.
pub(crate) fn render(goals: &[Goal], figures: &Figures) -> (String, bool) {
    let mut text = String::from("| measure | median | least – most | runs | goal | met |\n|---|---|---|---|---|---|\n");
    let mut all_met = true;
    for goal in goals {
        let summary = figures.of(goal.name);
        let met = summary.is_some_and(|summary| goal.bound.is_none_or(|bound| bound.holds(summary)));
        all_met &= met;
        let (bound, word) = match goal.bound {
            Some(bound) => (shown_bound(bound, goal.unit), if met { "yes" } else { "**no**" }),
            None => (String::new(), ""),
        };
        let (title, unit) = (goal.title, goal.unit);
        text.push_str(&match summary {
            Some(s) => format!(
                "| {title} | {} {unit} | {} – {} | {} | {bound} | {word} |\n",
                number(s.median),
                number(s.least),
                number(s.most),
                s.runs
            ),
            None => format!("| {title} | not measured | | 0 | {bound} | {word} |\n"),
        });
    }
    (text, all_met)
}

fn shown_bound(bound: Bound, unit: &str) -> String {
    match bound {
        Bound::AtLeast(least) => format!("≥ {} {unit}", number(least)),
        Bound::Below(most) => format!("< {} {unit}", number(most)),
        Bound::AtMost(most) => format!("≤ {} {unit}", number(most)),
        Bound::Always(wanted) => number(wanted),
    }
}

/// Three significant digits, and commas between thousands.
pub(crate) fn number(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    fraction.map_or_else(|| format!("{sign}{grouped}"), |fraction| format!("{sign}{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let shown: Vec<String> =
            [1_234_567.8, 123.4, 12.34, 1.234, -0.5, 0.0].iter().map(|&value| number(value)).collect();
        assert_eq!(shown, ["1,234,568", "123", "12.3", "1.23", "-0.50", "0"]);
    }

    #[test]
    fn a_goal_that_is_missed_or_not_measured_is_marked() {
        let mut figures = Figures::default();
        figures.read("{\"measure\":\"a\",\"value\":5}");
        let goal = |name, bound| Goal { name, title: name, bound: Some(bound), unit: "/s" };
        let (table, met) = render(&[goal("a", Bound::AtLeast(4.0))], &figures);
        assert!(met && table.contains("| a | 5 /s | 5 – 5 | 1 | ≥ 4 /s | yes |"), "{table}");
        let (table, met) = render(&[goal("a", Bound::Below(4.0)), goal("b", Bound::Below(1.0))], &figures);
        assert!(!met && table.contains("**no**") && table.contains("| b | not measured"), "{table}");
    }
}
