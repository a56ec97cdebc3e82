//! A web service whose tasks run in a Celery worker. It needs of Apium the feature `redis` alone.
//!
//! ```text
//! celery -A tasks worker                                   # has the task tasks.add
//! APIUM_BROKER_URL=redis://localhost APIUM_RESULT_BACKEND=redis://localhost cargo run --example guide_producer
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::net::SocketAddr;
use std::time::Duration;

use apium::ErrorKind;
use apium::prelude::*;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

// guide: stub
extern_task! {
    /// A task of the Celery app. Its body is in Python.
    #[task(name = "tasks.add")]
    fn add(x: i64, y: i64) -> i64;
}
// guide end

// guide: app
/// The app has no task and no worker. It publishes messages and reads results.
async fn app() -> Result<App, BoxError> {
    // From APIUM_BROKER_URL and APIUM_RESULT_BACKEND.
    let mut settings = Settings::new();
    settings.add_env(std::env::vars())?;
    Ok(App::builder("front").config(settings).build().await?)
}
// guide end

// guide: handlers
/// Enqueues a task of the Celery app, and answers with its id.
async fn order(State(app): State<App>, Json((x, y)): Json<(i64, i64)>) -> Result<impl IntoResponse, StatusCode> {
    let sent = add::delay(x, y).expires_in(Duration::from_secs(3600)).send(&app).await.map_err(unavailable)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": sent.id() }))))
}

/// Waits two seconds for the result. After that the caller may ask again.
async fn sum(State(app): State<App>, Path(id): Path<String>) -> Result<impl IntoResponse, StatusCode> {
    match app.result::<i64>(id).get().timeout(Duration::from_secs(2)).await {
        Ok(sum) => Ok(Json(json!({ "sum": sum }))),
        Err(error) if error.kind() == ErrorKind::Timeout => Ok(Json(json!({ "sum": null }))),
        Err(error) => Err(unavailable(error)),
    }
}

fn unavailable(error: apium::Error) -> StatusCode {
    tracing::error!(error = %apium::with_causes(&error), "could not serve a request");
    StatusCode::SERVICE_UNAVAILABLE
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = app().await?;
    // guide: by name
    // Without a stub, by its name: nothing checks the arguments.
    let named = app.sig("tasks.add").args((1, 2)).send().await?;
    // guide end
    println!("tasks.add is {}", named.id());

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = Router::new().route("/sums", post(order)).route("/sums/{id}", get(sum)).with_state(app.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let (served, visited) = tokio::join!(served.into_future(), visit(address, stop));
    served?;
    app.close().await?;
    visited
}

/// Orders a sum, and asks for it until it is there.
async fn visit(address: SocketAddr, _stop: oneshot::Sender<()>) -> Result<(), BoxError> {
    let ordered: serde_json::Value = serde_json::from_str(&ask(address, "POST /sums", "[2, 3]").await?)?;
    let id = ordered["id"].as_str().ok_or("an order has an id")?;
    loop {
        let answer = ask(address, &format!("GET /sums/{id}"), "").await?;
        println!("{answer}");
        if answer != r#"{"sum":null}"# {
            return Ok(());
        }
    }
}

/// Sends a request, and returns the body of the answer.
async fn ask(address: SocketAddr, request: &str, body: &str) -> Result<String, BoxError> {
    let mut stream = TcpStream::connect(address).await?;
    let head =
        format!("{request} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("an answer has a body")?;
    Ok(body.to_owned())
}
