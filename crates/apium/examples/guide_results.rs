//! Results: waiting with a limit, reading one later by its id, failures as values, every state as a stream, progress.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::pin::pin;
use std::time::Duration;

use apium::prelude::*;
use futures_util::TryStreamExt as _;

// guide: task
/// Imports rows, and stores how far it is.
#[task(name = "guide.import", track_started)]
async fn import(ctx: &Ctx, rows: u64) -> TaskResult<u64> {
    for done in (0..rows).step_by(25) {
        ctx.update_state("IMPORTING", json!({ "done": done, "of": rows })).await?;
    }
    Ok(rows)
}
// guide end

#[task(name = "guide.refuse")]
async fn refuse(reason: String) -> TaskResult<u64> {
    Err(TaskError::failure(reason))
}

async fn one(app: &App) -> Result<(), BoxError> {
    // guide: wait
    let result = import::delay(100).send(app).await?;
    let rows = result.get().timeout(Duration::from_secs(10)).await?;
    assert_eq!(rows, 100);
    // guide end

    let id = result.id().to_string();
    // guide: by id
    // Another process, which was given the id.
    let found = app.result::<u64>(&*id);
    if found.ready().await? {
        println!("{} imported {} rows", found.id(), found.get().await?);
    }
    // guide end

    // guide: outcome
    let refused = refuse::delay("the file is empty".to_owned()).send(app).await?;
    match refused.get().outcome().await? {
        Outcome::Value(rows) => println!("{rows} rows"),
        Outcome::Failed(failure) => println!("{}: {failure}", failure.exception().exc_type),
        Outcome::Revoked(why) => println!("it did not run: {why}"),
    }
    // guide end

    // guide: forget
    found.forget().await?;
    assert_eq!(found.state().await?, TaskState::Pending);
    // guide end
    Ok(())
}

async fn many(app: &App) -> Result<(), BoxError> {
    // guide: watch
    let result = import::delay(50).send(app).await?;
    let mut states = pin!(result.watch().await?);
    while let Some(update) = states.try_next().await? {
        println!("{} {}", update.state, update.result);
    }
    // guide end

    // guide: group
    let imports = group((1..=20).map(import::s)).send(app).await?;
    let progress = async {
        let mut progress = pin!(imports.progress_stream());
        while let Some(now) = progress.try_next().await? {
            println!("{} of {} imports are done", now.done, now.total);
        }
        Ok(())
    };
    // `get()` takes options until it is awaited, or made a future by `into_future`.
    let (rows, ()) = tokio::try_join!(imports.get().into_future(), progress)?;
    // guide end
    println!("{} rows in all", rows.iter().sum::<u64>());
    assert_eq!(rows.iter().sum::<u64>(), 210);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::builder("guide").broker("memory://").backend("memory://").build().await?;
    let worker = app.worker().concurrency(2).start().await?;
    one(&app).await?;
    many(&app).await?;
    worker.stop().await;
    Ok(())
}
