//! A web service that enqueues tasks, and answers with their states and results. The program also runs a worker and
//! visits itself, so that it shows all of it and ends.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

// guide: imports
use std::net::SocketAddr;

use apium::prelude::*;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
// guide end

// guide: task
#[task(name = "shop.scale", acks_late, track_started)]
async fn scale(ctx: &Ctx, picture: String) -> TaskResult<String> {
    ctx.update_state("SCALING", json!({ "percent": 50 })).await?;
    Ok(format!("small/{picture}"))
}
// guide end

// guide: service
/// The service. Its handlers share the app, which is cheap to clone.
fn service(app: App) -> Router {
    Router::new()
        .route("/pictures", post(order))
        .route("/tasks/{id}", get(state))
        .route("/tasks/{id}/events", get(events))
        .with_state(app)
}

#[derive(Deserialize)]
struct Order {
    picture: String,
}

/// Enqueues a task, and answers with its id at once.
async fn order(State(app): State<App>, Json(order): Json<Order>) -> Result<impl IntoResponse, Unavailable> {
    let sent = scale::delay(order.picture).send(&app).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": sent.id() }))))
}

/// The state of a task, and what is stored with it: the return value, the error, or the meta of a custom state.
async fn state(State(app): State<App>, Path(id): Path<String>) -> Result<impl IntoResponse, Unavailable> {
    Ok(Json(match app.result::<String>(id).document().await? {
        Some(stored) => json!({ "state": stored.state, "result": stored.result }),
        None => json!({ "state": TaskState::Pending }),
    }))
}
// guide end

// guide: events
/// Every state as a server-sent event. The stream ends with the task.
async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, BoxError>>>, Unavailable> {
    let states = app.result::<String>(id).watch().await?;
    Ok(Sse::new(states.map(|update| {
        let update = update?;
        Ok(Event::default().json_data(json!({ "state": update.state, "result": update.result }))?)
    })))
}
// guide end

// guide: errors
/// The broker or the result backend does not answer. The caller may try again.
struct Unavailable(apium::Error);

impl From<apium::Error> for Unavailable {
    fn from(error: apium::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        tracing::error!(error = %apium::with_causes(&self.0), "could not serve a request");
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
// guide end

// guide: main
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::builder("shop").broker("memory://").backend("memory://").build().await?;
    let worker = app.worker().concurrency(4).start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    let (stop, stopped) = oneshot::channel::<()>();
    let served = axum::serve(listener, service(app.clone())).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let (served, visited) = tokio::join!(served.into_future(), visit(address, stop));
    served?;
    worker.stop().await;
    app.close().await?;
    visited
}
// guide end

/// Orders a picture, follows it, and reads its result.
async fn visit(address: SocketAddr, _stop: oneshot::Sender<()>) -> Result<(), BoxError> {
    let ordered: serde_json::Value =
        serde_json::from_str(&ask(address, "POST /pictures", r#"{"picture": "bee.png"}"#).await?)?;
    let id = ordered["id"].as_str().ok_or("an order has an id")?;
    print!("{}", ask(address, &format!("GET /tasks/{id}/events"), "").await?);
    println!("{}", ask(address, &format!("GET /tasks/{id}"), "").await?);
    Ok(())
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
