//! `on_message`: a callback for every state while `get` waits.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::sync::{Arc, Mutex, PoisonError};

use apium::prelude::*;
use tokio::sync::oneshot;

// guide: task
#[task(name = "guide.hello")]
async fn hello(ctx: &Ctx, a: i64, b: i64) -> TaskResult<String> {
    for progress in [50, 90] {
        ctx.update_state("PROGRESS", json!({ "progress": progress })).await?;
        tokio::task::yield_now().await;
    }
    Ok(format!("hello world: {}", a + b))
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::builder("guide").broker("memory://").backend("memory://").build().await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = app.worker().concurrency(1).run_until(async {
        let _ = stopped.await;
    });

    let client = async {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = seen.clone();
        // guide: callback
        let result = hello::delay(4, 6).send(&app).await?;
        let value = result
            .get()
            .on_message(move |update| {
                // A web server could send this to a browser.
                println!("{}", json!(update));
                recorder.lock().unwrap_or_else(PoisonError::into_inner).push(update.state.clone());
            })
            .await?;
        // guide end
        drop(stop);
        assert_eq!(value, "hello world: 10");
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(seen.last(), Some(&TaskState::Success));
        Ok::<(), BoxError>(())
    };
    let (worked, called) = tokio::join!(worker, client);
    worked?;
    called
}
