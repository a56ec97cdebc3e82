//! The lists and counters in Redis by which the tests see what ran.

use apium::prelude::*;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

static CONNECTION: OnceCell<MultiplexedConnection> = OnceCell::const_new();

/// The connection to the server that the tests use too.
async fn connection() -> TaskResult<MultiplexedConnection> {
    let connect = || async {
        let variable = |name: &str, other: &str| std::env::var(name).unwrap_or_else(|_| other.to_owned());
        let (host, port) = (variable("REDIS_HOST", "localhost"), variable("REDIS_PORT", "6379"));
        redis::Client::open(format!("redis://{host}:{port}/0"))?.get_multiplexed_async_connection().await
    };
    Ok(CONNECTION.get_or_try_init(connect).await?.clone())
}

/// Appends a text to a list.
pub(crate) async fn push(key: &str, text: &str) -> TaskResult<()> {
    push_value(key, &Value::Str(text.to_owned())).await
}

/// Appends a value to a list, as Python's client takes it: a text, bytes or a number.
pub(crate) async fn push_value(key: &str, value: &Value) -> TaskResult<()> {
    let bytes = match value {
        Value::Str(text) => text.clone().into_bytes(),
        Value::Bytes(bytes) => bytes.clone(),
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Float(number) => number.to_string().into_bytes(),
        other => {
            let text = format!("Invalid input of type: '{}'", other.kind());
            return Err(TaskError::of_class("redis.exceptions.DataError", &text));
        }
    };
    let _: i64 = connection().await?.rpush(key, bytes).await?;
    Ok(())
}

/// Counts a counter up.
pub(crate) async fn count(key: &str) -> TaskResult<()> {
    let _: i64 = connection().await?.incr(key, 1).await?;
    Ok(())
}
