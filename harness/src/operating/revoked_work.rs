//! What is sent and revoked in one round: tasks alone and in workflows, and what must become of each.

use std::time::Duration;

use apium::canvas::{self, Node};
use apium::prelude::*;
use serde_json::Value;

use crate::operating::tasks::{id, node, run, run_early};

/// How a task must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It runs, and succeeds.
    Succeeds,
    /// It was revoked: it does not run, and is REVOKED.
    Revoked,
    /// It does not run, because a part of its chord was revoked, and has failed.
    Fails,
    /// It does not run, because the step before it in its chain was revoked, and nothing is stored.
    Never,
}

/// All tasks of a test, by their numbers.
#[derive(Debug, Default)]
pub struct Work {
    /// How each must end.
    pub ends: Vec<End>,
    /// How many chains, groups and chords there are among them.
    pub workflows: usize,
}

impl Work {
    /// The next number, of a task that ends so.
    fn next(&mut self, end: End) -> u64 {
        self.ends.push(end);
        self.ends.len() as u64 - 1
    }

    /// How many end so.
    pub fn count(&self, end: End) -> usize {
        self.ends.iter().filter(|present| **present == end).count()
    }

    /// The tasks with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (u64, End)> + '_ {
        (0..).zip(self.ends.iter().copied())
    }

    /// Sends tasks of every kind and revokes some, while no worker is up.
    pub async fn send_and_revoke(&mut self, app: &App, round: u64) -> Result<(), BoxError> {
        self.send_alone(app, Duration::ZERO, 8).await?;
        self.send_alone(app, Duration::from_millis(1_500), 4).await?;
        self.send_stamped(app, round).await?;
        self.send_chains(app).await?;
        self.send_groups(app).await?;
        self.send_chords(app).await
    }

    /// Sends so many tasks that are to run and as many that are revoked at once, after `delay`.
    pub async fn send_alone(&mut self, app: &App, delay: Duration, count: usize) -> Result<(), BoxError> {
        let mut revoked = Vec::new();
        for turn in 0..count {
            let number = self.next(End::Succeeds);
            run::delay(number, 5).task_id(id(number)).countdown(delay).send(app).await?;
            let number = self.next(End::Revoked);
            // The message of an early-ack task is acked before its run, so a kill loses it. It may be revoked all the
            // same.
            match turn % 2 {
                0 => run::delay(number, 5).task_id(id(number)).countdown(delay).send(app).await?,
                _ => run_early::delay(number, 5).task_id(id(number)).countdown(delay).send(app).await?,
            };
            revoked.push(number);
        }
        let (singly, together) = revoked.split_at(revoked.len() / 2);
        for number in singly {
            app.result::<u64>(id(*number)).revoke().send().await?;
        }
        Ok(app.control().revoke_all(together.iter().map(|number| id(*number))).send().await?)
    }

    async fn send_stamped(&mut self, app: &App, round: u64) -> Result<(), BoxError> {
        for turn in 0..6 {
            let end = if turn % 2 == 0 { End::Succeeds } else { End::Revoked };
            let number = self.next(end);
            let stamp = if end == End::Revoked { format!("revoked-{round}") } else { "kept".to_owned() };
            run::delay(number, 5).task_id(id(number)).stamp("batch", stamp).send(app).await?;
        }
        let stamp = Json::from_serialize(&format!("revoked-{round}"))?;
        Ok(app.control().revoke_by_stamps([("batch", stamp)]).send().await?)
    }

    /// One chain as it is, and others of which a step is revoked.
    async fn send_chains(&mut self, app: &App) -> Result<(), BoxError> {
        for revoked in [None, Some(0), Some(1)] {
            let end = |at: usize| match revoked {
                Some(step) if at == step => End::Revoked,
                Some(step) if at > step => End::Never,
                _ => End::Succeeds,
            };
            let mut steps = vec![self.part(end(0))?];
            for at in 1..3 {
                let number = self.next(end(at));
                steps.push(node("operating.step", &[number.into()], number)?);
            }
            self.send(app, Node::chain(steps)).await?;
        }
        self.revoke(app).await
    }

    /// A group some of which is revoked, and one that is revoked as a whole.
    async fn send_groups(&mut self, app: &App) -> Result<(), BoxError> {
        let ends = [End::Succeeds, End::Revoked, End::Succeeds, End::Revoked];
        let members = ends.map(|end| self.part(end)).into_iter().collect::<Result<Vec<_>, _>>()?;
        self.send(app, Node::group(members)).await?;
        self.revoke(app).await?;
        let members = [End::Revoked; 3].map(|end| self.part(end)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let sent = canvas::send(app, Node::group(members)).await?;
        self.workflows += 1;
        Ok(GroupResult::<u64>::of_tuple(app, &sent).revoke().send().await?)
    }

    /// A chord as it is, and others of which a part or the body is revoked.
    async fn send_chords(&mut self, app: &App) -> Result<(), BoxError> {
        let (ok, revoked) = (End::Succeeds, End::Revoked);
        for (header, body) in [([ok; 3], ok), ([ok, revoked, ok], End::Fails), ([ok; 3], revoked)] {
            let header = header.map(|end| self.part(end)).into_iter().collect::<Result<Vec<_>, _>>()?;
            let number = self.next(body);
            self.send(app, Node::chord(header, node("operating.total", &[number.into()], number)?)).await?;
        }
        self.revoke(app).await
    }

    /// A task that begins a workflow or is a member of one.
    fn part(&mut self, end: End) -> Result<Node, BoxError> {
        let number = self.next(end);
        node("operating.run", &[number, 5].map(Value::from), number)
    }

    async fn send(&mut self, app: &App, node: Node) -> Result<(), BoxError> {
        self.workflows += 1;
        canvas::send(app, node).await?;
        Ok(())
    }

    /// Revokes everything that is to be revoked. To revoke it again changes nothing.
    async fn revoke(&self, app: &App) -> Result<(), BoxError> {
        let revoked = self.all().filter(|(_, end)| *end == End::Revoked).map(|(number, _)| id(number));
        Ok(app.control().revoke_all(revoked).send().await?)
    }
}
