//! Does what a key asked for and was confirmed.

use apium_app::app::app::App;
use apium_app::error::Result;

use crate::top::model::Action;

/// Does it, and says in words what was done or why not.
pub(super) async fn execute(app: App, action: Action) -> String {
    match attempt(&app, &action).await {
        Ok(done) => done,
        Err(error) => format!("could not {error:#}"),
    }
}

async fn attempt(app: &App, action: &Action) -> Result<String> {
    let control = app.control();
    Ok(match action {
        Action::Revoke { id, terminate } => {
            let revoke = control.revoke(id);
            let revoke = if *terminate { revoke.terminate() } else { revoke };
            revoke.send().await?;
            format!("task {id} is revoked")
        }
        Action::RateLimit { task, limit } => {
            control.rate_limit(task, limit).send().await?;
            format!("workers were told to limit {task} to {limit}")
        }
        Action::Pause { queue, reason } => {
            control.pause_queue(queue, reason).send().await?;
            format!("queue {queue} is paused")
        }
        Action::Resume { queue } => {
            control.resume_queue(queue).send().await?;
            format!("queue {queue} is resumed")
        }
        Action::Replay { key } => match app.replay_dead(&[*key]).await? {
            0 => format!("dead message {key} is gone"),
            _ => format!("dead message {key} is back in its queue"),
        },
        Action::EnableEvents => {
            control.enable_events().send().await?;
            "workers were told to send events of tasks".to_owned()
        }
    })
}
