//! Runs benchmarks by their plans and writes the pages.

use std::fs;

use crate::bench::figures::Figures;
use crate::bench::plan::{Page, Plan};
use crate::bench::plans::all::PLANS;
use crate::bench::{machine, quiet, table};
use crate::commands::Answer;
use crate::{output, peers, process};

/// Runs the plans that `args` name, or all. `--runs N` changes how often each is run, and `--full` makes the sizes of
/// some larger.
pub(crate) fn run(args: &[String]) -> Answer {
    let (mut runs, mut is_full) = (None, false);
    let mut chosen: Vec<&Plan> = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--runs" {
            let number = args.next().and_then(|number| number.parse::<usize>().ok()).filter(|&number| number > 0);
            runs = Some(number.ok_or("read --runs: it takes a number above zero")?);
        } else if arg == "--full" {
            is_full = true;
        } else {
            let found = PLANS.iter().find(|plan| plan.name == arg);
            chosen.push(found.ok_or_else(|| format!("find the benchmark {arg:?}: there are {}", names()))?);
        }
    }
    if chosen.is_empty() {
        chosen.extend(PLANS);
    }
    let mut met = true;
    for plan in chosen {
        met &= execute(plan, runs.unwrap_or(plan.runs), is_full)?;
    }
    Ok(met)
}

fn names() -> String {
    PLANS.iter().map(|plan| plan.name).collect::<Vec<_>>().join(", ")
}

fn execute(plan: &Plan, runs: usize, is_full: bool) -> Answer {
    if plan.peers {
        peers::ready::ensure()?;
    }
    let build = ["build", "--release", "--package", "apium-harness", "--bin", plan.binary];
    if !process::passes(process::optimised(&build)?)? {
        return Ok(false);
    }
    let mut figures = Figures::default();
    // All measures in each round, so that a busy minute does not affect one measure alone.
    for round in 1..=runs {
        for measure in plan.measures {
            let busy =
                quiet::wait().map_or(String::new(), |busy| format!(", machine {:.0} % busy before", busy * 100.0));
            output::step(&format!("{} {measure}, run {round} of {runs}{busy}", plan.binary));
            let mut program =
                vec!["run", "--quiet", "--release", "--package", "apium-harness", "--bin", plan.binary, "--", measure];
            if is_full && matches!(plan.content, Page::Sections(_)) {
                program.push("full");
            }
            let lines = process::read(process::optimised(&program)?)?;
            output::line(lines.trim_end());
            figures.read(&lines);
        }
    }
    let made = format!("Made by `cargo xtask bench {}{}`", plan.name, if is_full { " --full" } else { "" });
    let facts = machine::facts();
    let (text, met) = match plan.content {
        Page::Goals(goals) => {
            let (table, met) = table::render(goals, &figures);
            let how =
                "Medians, with the least and the most of all runs. A run waits up to a minute for a quiet machine.";
            (format!("{made} on {facts}. {how}\n\n{table}"), met)
        }
        Page::Sections(sections) => {
            let how = if is_full { "" } else { " These are the small sizes; `--full` has the large ones." };
            (format!("{made} on {facts}: medians of {runs}.{how}\n\n{}", sections(&figures)), true)
        }
    };
    let page = format!("# Measured: {}\n\n{}\n\n{text}", plan.name, plan.about);
    output::line(&page);
    let path = process::root()?.join(plan.page);
    fs::write(&path, page).map_err(|e| format!("write {}: {e}", plan.page))?;
    output::step(&format!("wrote {}", plan.page));
    Ok(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_refused_with_the_list() {
        let error = run(&["nothing".to_owned()]).unwrap_err();
        assert!(error.contains("seam"), "{error}");
        assert!(run(&["--runs".to_owned(), "0".to_owned()]).is_err());
    }
}
