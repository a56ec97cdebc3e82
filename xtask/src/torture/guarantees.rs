//! The guarantees on a server, and what Celery does under the same faults, as a table and a page.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::bench::machine;
use crate::commands::Answer;
use crate::{output, process};

/// The page of one driver.
pub(crate) struct Page {
    /// Its path.
    path: &'static str,
    /// Its title.
    title: &'static str,
    /// What is done to workers and servers.
    how: &'static str,
    /// The name by which the command knows the driver.
    name: &'static str,
}

/// The page of Redis.
pub(crate) const REDIS: Page = Page {
    path: "docs/PROMISES-REDIS.md",
    title: "Guarantees on Redis, and what Celery does",
    how: "workers are killed with SIGKILL at random instants and at crash points of the code, or frozen for a while; \
          their clocks are set; servers are killed, frozen, cut off and made to refuse; connections are killed. Celery \
          is tested in the same way where it has a counterpart. The lease is 1 s unless a row says otherwise",
    name: "redis",
};

/// The page of RabbitMQ.
pub(crate) const RABBITMQ: Page = Page {
    path: "docs/PROMISES-AMQP.md",
    title: "Guarantees on RabbitMQ, and what Celery does",
    how: "workers are killed with SIGKILL at random instants and at crash points of the code, while they stop and after \
          they were frozen; the server is killed and started again; connections are cut, refused, closed by an operator \
          and left without an answer; its disk is full. On classic queues a worker of Celery takes its share where a \
          row says so. Celery is tested in the same way where a row has a column of it",
    name: "amqp",
};

/// The page of child processes.
pub(crate) const PROCESSES: Page = Page {
    path: "docs/PROMISES-PROCESSES.md",
    title: "Guarantees of child processes, and what Celery's prefork does",
    how: "children of a worker are killed with SIGKILL at random while they run tasks, and whole workers with them; \
          tasks kill their own children, and never end; tasks are revoked while no worker is up; workers are replaced \
          under load. The tasks are on Redis, and the same in Rust and in Python",
    name: "processes",
};

/// Runs the program, shows each line as it comes, and writes the page when every guarantee was tested. Whether Apium
/// kept them.
pub(crate) fn table(shown: &Page, program: Command, size: &str, all: bool) -> Answer {
    let mut rows = Vec::new();
    let passed =
        process::stream(program, &mut |line| match serde_json::from_str::<Value>(line).ok().as_ref().and_then(row) {
            Some(row) => {
                output::line(&row);
                rows.push(row);
            }
            None => output::line(line),
        })?;
    let flag = if size == "full" { " --full" } else { "" };
    let page = page(shown, &rows, flag);
    output::line(&page);
    if all && passed {
        let path = shown.path;
        fs::write(process::root()?.join(path), page).map_err(|e| format!("write {path}: {e}"))?;
        output::step(&format!("wrote {path}"));
    }
    Ok(passed)
}

fn page(page: &Page, rows: &[String], flag: &str) -> String {
    let Page { title, how, name, .. } = page;
    format!(
        "# {title}\n\n\
         [PROMISES.md](PROMISES.md) says what each guarantee means. Here each is tested by causing what it must survive: \
         {how}. Made by `cargo xtask torture {name}{flag}` on {}, with Celery 5.7.\n\n\
         | guarantee | Apium | Celery 5.7 |\n|---|---|---|\n{}\n",
        machine::facts(),
        rows.join("\n")
    )
}

/// A line of the table.
fn row(line: &Value) -> Option<String> {
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let side = |value: &Value| {
        let word = if value.get("kept")?.as_bool()? { "kept" } else { "**not kept**" };
        Some(format!("{word}: {}", text(value, "text")?))
    };
    let (name, what) = (text(line, "guarantee")?, text(line, "what")?);
    let celery = line.get("celery").and_then(side).unwrap_or_else(|| "not tested".to_owned());
    Some(format!("| [{name}](PROMISES.md#{name}): {what} | {} | {celery} |", side(line.get("apium")?)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_becomes_a_row() {
        let line = json!({
            "guarantee": "stays", "what": "it holds",
            "apium": {"kept": true, "text": "2 of 2"},
            "celery": {"kept": false, "text": "1 of 2"},
        });
        assert_eq!(
            row(&line).unwrap(),
            "| [stays](PROMISES.md#stays): it holds | kept: 2 of 2 | **not kept**: 1 of 2 |"
        );
        let line =
            json!({"guarantee": "stays", "what": "it holds", "apium": {"kept": true, "text": ""}, "celery": null});
        assert!(row(&line).unwrap().ends_with("| not tested |"));
        assert_eq!(row(&json!({"measure": "x"})), None);
    }
}
