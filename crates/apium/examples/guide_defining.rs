//! Defining tasks: names, options, plain and async functions, optional arguments, injected state.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;
use serde::{Deserialize, Serialize};

// guide: hello
/// The shortest form: the name of the task is the module path and the function's name.
#[task]
async fn hello(name: String) -> TaskResult<String> {
    Ok(format!("hello {name}"))
}
// guide end

// guide: greet
/// A task with a name, options, and an optional argument.
#[task(name = "guide.greet", aliases = ["guide.greet_v1"], acks_late, track_started, serializer = "json")]
async fn greet(name: String, #[default] greeting: Option<String>) -> TaskResult<String> {
    Ok(format!("{} {name}", greeting.unwrap_or_else(|| "good morning,".to_owned())))
}
// guide end

// guide: plain
/// A plain function runs on the worker's own threads, never on the reactor.
#[task(name = "guide.fibonacci")]
fn fibonacci(n: u32) -> TaskResult<u64> {
    Ok((0..n).fold((0, 1), |(a, b), _| (b, a + b)).0)
}
// guide end

// guide: types
/// What is sent and returned is any type of serde. On the wire it is JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

#[task(name = "guide.middle")]
async fn middle(from: Point, to: Point) -> TaskResult<Point> {
    Ok(Point { x: (from.x + to.x) / 2.0, y: (from.y + to.y) / 2.0 })
}
// guide end

// guide: errors
/// `?` makes a failure of any error. The error's type is stored as `exc_type`, here `ParseIntError`.
#[task(name = "guide.port")]
async fn port(text: String) -> TaskResult<u16> {
    let port: u16 = text.parse()?;
    if port < 1024 {
        return Err(TaskError::failure(format!("port {port} is reserved")));
    }
    Ok(port)
}
// guide end

// guide: state
/// A resource of the program that tasks use.
#[derive(Clone)]
struct Dictionary(&'static str);

/// State is given to the app once. It is not sent in messages.
#[task(name = "guide.look_up")]
async fn look_up(State(dictionary): State<Dictionary>, word: String) -> TaskResult<String> {
    Ok(format!("{word}: see {}", dictionary.0))
}
// guide end

// guide: namespace
/// The tasks of a module get a prefix: this one is `guide.books.count`.
#[task_module(namespace = "guide.books")]
mod books {
    use apium::prelude::*;

    #[task]
    pub(crate) async fn count(shelf: u8) -> TaskResult<u32> {
        Ok(u32::from(shelf) * 40)
    }
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().state(Dictionary("volume two")).build().await?;

    assert_eq!((hello::NAME, books::count::NAME), ("guide_defining.hello", "guide.books.count"));
    let greeting = hello::delay("you".to_owned()).send(&app).await?;
    let polite = greet::delay("Ada".to_owned(), None).send(&app).await?;
    let number = fibonacci::delay(50).send(&app).await?;
    let entry = look_up::delay("bee".to_owned()).send(&app).await?;
    let center = middle::delay(Point { x: 0.0, y: 0.0 }, Point { x: 4.0, y: 2.0 }).send(&app).await?;
    let refused = port::delay("80".to_owned()).send(&app).await?;
    let unreadable = port::delay("http".to_owned()).send(&app).await?;
    let by_alias = app.sig("guide.greet_v1").args(("Bob", "hi")).send().await?;
    app.drain().await;

    println!("{}: {}", hello::NAME, greeting.get().await?);
    assert_eq!(polite.get().await?, "good morning, Ada");
    assert_eq!(number.get().await?, 12_586_269_025);
    assert_eq!(entry.get().await?, "bee: see volume two");
    assert_eq!(center.get().await?, Point { x: 2.0, y: 1.0 });
    for (result, exc_type) in [(refused, "TaskError"), (unreadable, "ParseIntError")] {
        let error = result.get().await.err().ok_or("it must fail")?;
        assert_eq!(error.failure().map(|failure| &*failure.exception().exc_type), Some(exc_type));
    }
    assert_eq!(by_alias.get().await?.decode::<String>()?, "hi Bob");

    // The function can still be called.
    assert_eq!(hello("me".to_owned()).await?, "hello me");
    println!("{} tasks are registered", app.registry().len());
    Ok(())
}
