//! Defining tasks: names, options, plain and async functions, optional arguments, injected state.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;

/// The shortest form: the name of the task is the module path and the function's name.
#[task]
async fn hello(name: String) -> TaskResult<String> {
    Ok(format!("hello {name}"))
}

/// A task with a name, options, and an optional argument.
#[task(name = "guide.greet", aliases = ["guide.greet_v1"], acks_late, track_started, serializer = "json")]
async fn greet(name: String, #[default] greeting: Option<String>) -> TaskResult<String> {
    Ok(format!("{} {name}", greeting.unwrap_or_else(|| "good morning,".to_owned())))
}

/// A plain function runs on the worker's own threads, never on the reactor.
#[task(name = "guide.fibonacci")]
fn fibonacci(n: u32) -> TaskResult<u64> {
    Ok((0..n).fold((0, 1), |(a, b), _| (b, a + b)).0)
}

/// A resource of the program that tasks use.
#[derive(Clone)]
struct Dictionary(&'static str);

/// State is given to the app once. It is not sent in messages.
#[task(name = "guide.look_up")]
async fn look_up(State(dictionary): State<Dictionary>, word: String) -> TaskResult<String> {
    Ok(format!("{word}: see {}", dictionary.0))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().state(Dictionary("volume two")).build().await?;

    assert_eq!(hello::NAME, "guide_defining.hello");
    let greeting = hello::delay("you".to_owned()).send(&app).await?;
    let polite = greet::delay("Ada".to_owned(), None).send(&app).await?;
    let number = fibonacci::delay(50).send(&app).await?;
    let entry = look_up::delay("bee".to_owned()).send(&app).await?;
    let by_alias = app.sig("guide.greet_v1").args(("Bob", "hi")).send().await?;
    app.drain().await;

    println!("{}: {}", hello::NAME, greeting.get().await?);
    assert_eq!(polite.get().await?, "good morning, Ada");
    assert_eq!(number.get().await?, 12_586_269_025);
    assert_eq!(entry.get().await?, "bee: see volume two");
    assert_eq!(by_alias.get().await?.decode::<String>()?, "hi Bob");

    // The function can still be called.
    assert_eq!(hello("me".to_owned()).await?, "hello me");
    println!("{} tasks are registered", app.registry().len());
    Ok(())
}
