//! The workflows that are measured, and their tasks, the same as in `harness/celery/app.py`.

use apium::canvas::{Node, send};
use apium::prelude::*;
use apium_protocol::message::signature::Signature as WireSignature;

/// The next number.
#[task(name = "bench.inc")]
pub async fn inc(number: u64) -> TaskResult<u64> {
    Ok(number + 1)
}

/// The body of the chords.
#[task(name = "bench.total")]
pub async fn total(numbers: Vec<u64>) -> TaskResult<u64> {
    Ok(numbers.iter().sum())
}

/// A workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// A group.
    Group,
    /// A chord whose body adds up.
    Chord,
    /// A chain.
    Chain,
}

impl Flow {
    /// Its name in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Chord => "chord",
            Self::Chain => "chain",
        }
    }

    /// The workflow with `size` tasks, the body not counted.
    pub fn node(self, size: u64) -> Result<Node, BoxError> {
        let members = || (0..size).map(|number| call(inc::NAME, Some(number))).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Group => Node::group(members()?),
            Self::Chord => Node::chord(members()?, call(total::NAME, None)?),
            Self::Chain => {
                let steps = (0..size).map(|step| call(inc::NAME, (step == 0).then_some(0)));
                Node::chain(steps.collect::<Result<Vec<_>, _>>()?)
            }
        })
    }

    /// Sends the workflow with `size` tasks, waits for its result and checks it.
    pub async fn run(self, app: &App, size: u64) -> Result<(), BoxError> {
        let sent = send(app, self.node(size)?).await?;
        let sum = size * (size + 1) / 2;
        let (got, wanted) = match self {
            Self::Group => (GroupResult::<u64>::of_tuple(app, &sent).get().await?.iter().sum::<u64>(), sum),
            Self::Chord => (AsyncResult::<u64>::of_tuple(app, &sent).get().await?, sum),
            Self::Chain => (AsyncResult::<u64>::of_tuple(app, &sent).get().await?, size),
        };
        match got == wanted {
            true => Ok(()),
            false => Err(format!("run a {} of {size}: its result is {got} and not {wanted}", self.name()).into()),
        }
    }
}

fn call(task: &str, number: Option<u64>) -> Result<Node, BoxError> {
    let args = number.iter().map(Json::from_serialize).collect::<Result<_, _>>()?;
    let mut signature = WireSignature::new(task);
    signature.args = args;
    Ok(Node::from_wire(&signature)?)
}
