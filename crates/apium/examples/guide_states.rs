//! States: PENDING, STARTED, custom states with details, SUCCESS, FAILURE.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;

// guide: progress
/// Stores its progress, unless it is called as a function.
#[task(name = "guide.upload_files", track_started)]
async fn upload_files(ctx: &Ctx, filenames: Vec<String>) -> TaskResult<usize> {
    for (i, name) in filenames.iter().enumerate() {
        if !ctx.request().called_directly {
            ctx.update_state("PROGRESS", json!({ "current": i, "total": filenames.len(), "file": name })).await?;
        }
    }
    Ok(filenames.len())
}
// guide end

// guide: abort
/// Ends early when its caller has given up.
#[task(name = "guide.search", abortable)]
async fn search(ctx: &Ctx, pages: u32) -> TaskResult<u32> {
    for page in 0..pages {
        if ctx.aborted().await? {
            return Err(TaskError::ignore());
        }
        tracing::debug!(page, "searched");
    }
    Ok(pages)
}
// guide end

#[task(name = "guide.fails")]
async fn fails() -> TaskResult<u8> {
    Ok("three hundred".parse::<u8>()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;

    // guide: seen
    // An unknown id is PENDING.
    assert_eq!(app.result::<u8>("unknown").state().await?, TaskState::Pending);

    let uploaded = upload_files::delay(vec!["a.txt".to_owned(), "b.txt".to_owned()]).send(&app).await?;
    assert_eq!(uploaded.state().await?, TaskState::Pending);
    app.drain().await;
    assert_eq!(uploaded.state().await?, TaskState::Success);
    assert_eq!(uploaded.get().await?, 2);
    // guide end

    // guide: failure
    let failed = fails::delay().send(&app).await?;
    app.drain().await;
    assert_eq!(failed.state().await?, TaskState::Failure);
    assert!(failed.failed().await? && failed.ready().await? && !failed.successful().await?);
    let traceback = failed.traceback().await?.ok_or("a failure has a traceback")?;
    println!("{traceback}");
    assert!(traceback.contains("invalid digit"));
    // guide end

    // guide: aborted
    let search = search::delay(1000).send(&app).await?;
    search.abort().await?;
    app.drain().await;
    assert!(search.is_aborted().await?);
    // guide end
    Ok(())
}
