//! Signatures that lack an argument, and groups that would be linked.

use apium_app::app::app::App;
use apium_app::signature::group::group;
use apium_app::signature::signature::Signature;

fn number() -> Signature<(), i64> {
    panic!()
}

fn twice() -> Signature<i64, i64> {
    panic!()
}

async fn a_partial_signature(app: &App) {
    let _ = twice().send(app).await;
}

async fn a_partial_signature_is_awaited() {
    let _ = twice().await;
}

async fn a_partial_group(app: &App) {
    let _ = group([twice(), twice()]).send(app).await;
}

fn a_partial_call() {
    let _ = twice().call();
}

fn the_missing_argument_has_another_type() {
    let _ = twice().partial("2");
}

fn a_group_has_no_link() {
    let _ = group([number()]).link(twice());
}

fn main() {}
