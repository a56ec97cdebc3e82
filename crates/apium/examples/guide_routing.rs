//! Routing: which queue a task goes to. The task, the call, a table of routes or a function says so.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::call::{CallOptions, RouteQuery};
use apium::prelude::*;

// guide: attribute
/// Sends an invoice. Its queue has workers that may use the mail server.
#[task(name = "shop.mail.invoice", queue = "mail")]
async fn invoice(order: u32) -> TaskResult<String> {
    Ok(format!("invoice of order {order}"))
}
// guide end

#[task(name = "shop.mail.welcome")]
async fn welcome(user: u32) -> TaskResult<String> {
    Ok(format!("welcome, user {user}"))
}

#[task(name = "shop.images.scale")]
async fn scale(picture: String) -> TaskResult<String> {
    Ok(format!("small/{picture}"))
}

#[task(name = "shop.report")]
async fn report(tenant: String) -> TaskResult<String> {
    Ok(format!("report of {tenant}"))
}

/// What `apium.toml` has in this program.
const SETTINGS: &str = r#"
# guide: routes
[task_routes]
"shop.images.*" = { queue = "images", priority = "background" }
're:^shop\.(mail|sms)\.' = "messages"
# guide end
"#;

// guide: function
/// The reports of a large customer have a queue of their own.
fn by_tenant(call: RouteQuery<'_>) -> Option<CallOptions> {
    let tenant: String = call.arguments.args.first()?.decode().ok()?;
    (call.task == "shop.report" && tenant == "acme").then(|| "reports-acme".into())
}

fn routed(app: AppBuilder) -> AppBuilder {
    app.router(by_tenant).route("shop.report", Queue::new("reports").max_priority(10))
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut settings = Settings::new();
    settings.add_toml(SETTINGS, "apium.toml")?;
    let app = App::test().with(|app| routed(app.config(settings))).build().await?;

    // guide: sent
    invoice::delay(7).send(&app).await?;
    invoice::delay(8).queue("mail-urgent").send(&app).await?;
    welcome::delay(1).send(&app).await?;
    scale::delay("bee.png".to_owned()).send(&app).await?;
    report::batch([("acme".to_owned(),), ("bee".to_owned(),)]).send_all(&app).await?;

    let invoices = app.sent::<invoice>();
    assert_eq!((invoices[0].queue(), invoices[1].queue()), ("mail", "mail-urgent"));
    assert_eq!(app.sent::<welcome>()[0].queue(), "messages");
    assert_eq!((app.sent::<scale>()[0].queue(), app.sent::<scale>()[0].priority()), ("images", Some(0)));
    let reports = app.sent::<report>();
    assert_eq!((reports[0].queue(), reports[1].queue()), ("reports-acme", "reports"));
    // guide end
    for sent in &reports {
        println!("{} goes to {}", sent.args().0, sent.queue());
    }

    // guide: worker
    let worker = app.worker().queues(["mail", "mail-urgent"]).concurrency(4).start().await?;
    worker.stop().await;
    // guide end
    Ok(())
}
