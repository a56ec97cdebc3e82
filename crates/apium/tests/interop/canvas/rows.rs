//! Rows: one to five groups, one after the other, alone and with a task behind them. A row stands in every place that a
//! workflow may have, and is joined in every way. The outcome is what the words say: each group waits for the one
//! before it, and runs once, with the list of its results. Celery itself has this outcome wherever [`Row::is_broken`]
//! does not say why it has another.

use std::sync::OnceLock;

use crate::canvas::case::{Case, Outcome};
use crate::canvas::flow::Flow;
use crate::canvas::shape::Shape;
use crate::kit::side::Side;

/// The most groups in a row.
const MOST: usize = 5;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// `chord(a,b,ROW)`
    Body,
    /// `chain(a,ROW)`
    Step,
    /// `then(a,ROW)`
    Callback,
    /// `else(a,ROW)`, of a task that fails.
    Errback,
    /// `replace(a,ROW)`
    Replacement,
    /// `chain(replace(a,ROW),z)`
    ReplacedStep,
}

/// How a row is joined: by `|`, by `chain`, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    Pipe,
    Chain,
    Steps,
}

/// A row in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    stands: Where,
    joined: Joined,
    groups: usize,
    /// Whether a task comes behind the groups.
    task_behind: bool,
}

/// All rows as cases.
pub(crate) fn all() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| rows().into_iter().map(Row::case).collect())
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for groups in 1..=MOST {
        for task_behind in [false, true] {
            for joined in [Joined::Pipe, Joined::Chain, Joined::Steps] {
                // A single group is joined to nothing.
                if groups == 1 && !task_behind && joined != Joined::Pipe {
                    continue;
                }
                let stands = [
                    Where::Body,
                    Where::Step,
                    Where::Callback,
                    Where::Errback,
                    Where::Replacement,
                    Where::ReplacedStep,
                ];
                rows.extend(stands.map(|stands| Row { stands, joined, groups, task_behind }));
            }
        }
    }
    rows
}

/// The names of tasks, in order.
struct Names(std::ops::RangeInclusive<char>);

impl Names {
    fn next(&mut self) -> String {
        self.0.next().unwrap().to_string()
    }
}

/// What a case is made of.
#[derive(Default)]
struct Made {
    text: String,
    expected: Outcome,
}

impl Made {
    /// A task that runs with these arguments and succeeds.
    fn ran(&mut self, task: &str, arguments: &str) {
        self.expected.stored.insert(task.to_owned(), format!("{task}({arguments})"));
        self.done([format!("run {task} {arguments}"), format!("ok {task} {task}")]);
    }

    fn done(&mut self, lines: impl IntoIterator<Item = String>) {
        self.expected.done.extend(lines);
    }
}

impl Row {
    fn case(self) -> Case {
        let (mut made, mut names) = (Made::default(), Names('a'..='z'));
        let first = names.next();
        let fails = (self.stands == Where::Errback).then(|| first.clone());
        let start = match self.stands {
            Where::Body => {
                let second = names.next();
                made.ran(&first, "");
                made.ran(&second, "");
                format!("[{first},{second}]")
            }
            Where::Step | Where::Callback => {
                made.ran(&first, "");
                first.clone()
            }
            Where::Errback => {
                made.expected.stored.insert(first.clone(), format!("!ValueError: {first}"));
                made.done([format!("run {first} "), format!("error {first} {first}")]);
                // An errback gets the id of the task.
                first.clone()
            }
            Where::Replacement | Where::ReplacedStep => {
                made.done([format!("run {first} ")]);
                String::new()
            }
        };
        let (row, end) = self.row(&mut made, &mut names, start);
        self.finish(&mut made, &mut names, [&first, &row, &end]);
        made.expected.done.sort_unstable();
        Case { shape: Shape::read(&made.text), text: made.text, fails, expected: made.expected, row: Some(self) }
    }

    /// Adds the tasks of the row, whose first group gets these arguments. Returns its text, and what it returns.
    fn row(self, made: &mut Made, names: &mut Names, start: String) -> (String, String) {
        let (mut parts, mut arguments) = (Vec::new(), start);
        for _ in 0..self.groups {
            let members = [names.next(), names.next()];
            members.iter().for_each(|member| made.ran(member, &arguments));
            parts.push(format!("group({})", members.join(",")));
            arguments = format!("[{}]", members.join(","));
        }
        if self.task_behind {
            let task = names.next();
            made.ran(&task, &arguments);
            parts.push(task.clone());
            arguments = task;
        }
        let text = match (parts.as_slice(), self.joined) {
            ([one], _) => one.clone(),
            (parts, Joined::Pipe) => format!("pipe({})", parts.join(",")),
            (parts, Joined::Chain) => format!("chain({})", parts.join(",")),
            (parts, Joined::Steps) => format!("steps({})", parts.join(",")),
        };
        (text, arguments)
    }

    /// Adds what the place of the row says: the text, the result that the sender gets, and the links of the whole.
    fn finish(self, made: &mut Made, names: &mut Names, [first, row, end]: [&str; 3]) {
        let whole = |task: &str| format!("ok whole {task}");
        let (text, result) = match self.stands {
            Where::Body => (format!("chord({first},b,{row})"), end),
            Where::Step => (format!("chain({first},{row})"), end),
            Where::Callback => (format!("then({first},{row})"), first),
            Where::Errback => (format!("else({first},{row})"), first),
            Where::Replacement => (format!("replace({first},{row})"), first),
            Where::ReplacedStep => {
                let last = names.next();
                made.ran(&last, end);
                self.replaced(made, first, end);
                made.done([whole(&last)]);
                made.text = format!("chain(replace({first},{row}),{last})");
                made.expected.result = last;
                return;
            }
        };
        match self.stands {
            Where::Errback => made.done([format!("error whole {first}"), format!("called whole {first},ValueError")]),
            Where::Replacement => {
                self.replaced(made, first, end);
                made.done([whole(end)]);
            }
            Where::Callback => made.done([whole(first)]),
            _ => made.done([whole(end)]),
        }
        (made.text, made.expected.result) = (text, result.to_owned());
    }

    /// The result of the row is that of the task it replaces, and its tasks have ids that nobody knows.
    fn replaced(self, made: &mut Made, first: &str, end: &str) {
        let stored = &mut made.expected.stored;
        let values: Vec<String> = end.trim_matches(['[', ']']).split(',').map(|task| stored[task].clone()).collect();
        let value = match self.task_behind {
            true => values.concat(),
            false => serde_json::to_string(&values).unwrap(),
        };
        let of_row = |task: &String| made.text.is_empty() && task != first;
        let last = stored.keys().next_back().cloned().filter(|_| self.stands == Where::ReplacedStep);
        for (task, ended) in stored.iter_mut().filter(|(task, _)| of_row(task)) {
            if Some(task) != last.as_ref() {
                "PENDING".clone_into(ended);
            }
        }
        stored.insert(first.to_owned(), value);
        made.done([format!("ok {first} {end}")]);
    }

    /// Removes what depends on how the row was joined: the parents of the result, and which members of a last group
    /// have the callback of the whole, which with Celery may take the place of their own. A callback of a task that is
    /// replaced inside a chain gets, with Celery, the value of the chain.
    pub(crate) fn without_links(self, outcome: &mut Outcome) {
        if let Some((last, _)) = outcome.result.split_once('<') {
            outcome.result = last.to_owned();
        }
        let on_row = matches!(self.stands, Where::Body | Where::Step | Where::Replacement);
        let last_group = self.last_group();
        let of_last_group = |line: &str| last_group.iter().any(|task| line.starts_with(&format!("ok {task} ")));
        outcome.done.retain(|line| match () {
            () if self.stands == Where::ReplacedStep && line.starts_with("ok a ") => false,
            () if on_row && !self.task_behind => !line.starts_with("ok whole ") && !of_last_group(line),
            () => true,
        });
    }

    /// The names of the members of the last group.
    fn last_group(self) -> [String; 2] {
        let before = if self.stands == Where::Body { 2 } else { 1 };
        let mut names = ('a'..='z').skip(before + 2 * (self.groups - 1)).map(String::from);
        [names.next().unwrap(), names.next().unwrap()]
    }

    /// Whether Celery's worker gives this row another outcome, in a flow in which it sends the row.
    pub(crate) fn is_broken(self, flow: &Flow) -> bool {
        let by_celery = |tasks: &[&str]| tasks.iter().any(|task| flow.owner(task) == Side::Python);
        let from_celery = flow.sender == Side::Python;
        let alone = self.groups == 1 && !self.task_behind;
        // Celery's `|` and `chain` leave a third group behind a chord of two, unless the task behind joins it: its
        // members run once for each member of the second.
        let left_behind = self.joined != Joined::Steps && self.groups > if self.task_behind { 3 } else { 2 };
        if from_celery && left_behind && by_celery(&flow.case.shape.tasks()) {
            return true;
        }
        match self.stands {
            Where::Step => false,
            // A chain that nothing has joined and that begins with a group drops what it is called with.
            Where::Body => by_celery(&["a", "b"]) && from_celery && self.joined == Joined::Steps,
            Where::Callback => by_celery(&["a"]) && self.joined == Joined::Steps,
            // Celery calls a chain or a chord with the request of the task, which cannot be sent as JSON.
            Where::Errback => by_celery(&["a"]) && !alone,
            // The results of a group behind others are collected nowhere.
            Where::Replacement | Where::ReplacedStep => by_celery(&["a"]) && !self.task_behind && !alone,
        }
    }
}

#[test]
fn every_row_stands_in_every_place_and_its_outcome_names_each_task() {
    let cases = all();
    assert_eq!(cases.len(), 6 * (MOST * 2 * 3 - 2));
    for Case { shape, expected, text, .. } in cases {
        let tasks = shape.tasks();
        assert_eq!(expected.stored.keys().map(String::as_str).collect::<Vec<_>>(), tasks, "{text}");
        let runs = expected.done.iter().filter(|line| line.starts_with("run ")).count();
        assert_eq!(runs, tasks.len(), "{text}: each task runs once");
    }
    let case = cases.iter().find(|case| case.text == "replace(a,steps(group(b,c),group(d,e)))").unwrap();
    assert_eq!(case.expected.stored["a"], "[\"d([b,c])\",\"e([b,c])\"]");
    assert_eq!(case.expected.stored["d"], "PENDING");
    let case = cases.iter().find(|case| case.text == "chain(replace(a,pipe(group(b,c),d)),e)").unwrap();
    assert_eq!((&*case.expected.stored["a"], &*case.expected.stored["e"]), ("d([b,c])", "e(d)"));
}
