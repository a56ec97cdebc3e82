//! How many tasks run at once where nobody says it.

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, json, send, until_counts};
use crate::task;

task!(Waits = "waits", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Plain = "plain", [acks_late: Some(true)], fn |_ctx| Ok(json(2)));

#[tokio::test]
async fn tasks_that_are_all_async_have_64_slots_and_one_plain_fn_makes_it_the_processors() {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    for (has_plain, given, slots) in
        [(false, None, processors.max(64)), (true, None, processors), (false, Some(3), 3), (true, Some(5), 5)]
    {
        let gate = Gate::new();
        let mut builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).register::<Waits>();
        if has_plain {
            builder = builder.register::<Plain>();
        }
        let app = builder.build().await.unwrap();
        for n in 0..slots + 6 {
            send(&app, "waits", &format!("n{n}")).await;
        }
        let worker = app.worker();
        let worker = if let Some(given) = given { worker.concurrency(given) } else { worker };
        let worker = worker.start().await.unwrap();
        gate.begun(u32::try_from(slots).unwrap()).await;
        until_counts(&app, 6, slots as u64).await;
        assert_eq!(gate.more(), 0);
        gate.open(slots + 6);
        until_counts(&app, 0, 0).await;
        assert_eq!(worker.stop().await.finished, slots as u64 + 6);
    }
}
