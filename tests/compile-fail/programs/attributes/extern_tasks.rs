//! Tasks that `extern_task!` cannot describe.

#![allow(unused)]

use apium_macros::extern_task;

extern_task! {
    pub fn unnamed(text: String) -> String;
}

extern_task! {
    #[task]
    fn without_a_name(text: String) -> String;
}

extern_task! {
    #[task(name = "t.body")]
    fn with_a_body(text: String) -> String {
        text
    }
}

extern_task! {
    #[task(name = "t.async")]
    async fn where_it_runs(text: String) -> String;
}

extern_task! {
    #[task(name = "t.late", acks_late)]
    fn of_the_worker(text: String);
}

extern_task! {
    #[task(name = "t.hook", on_success = log_ok)]
    fn hooked(text: String);
}

extern_task! {
    #[task(name = "t.typo", que = "gpu")]
    fn typo(text: String);
}

extern_task! {
    #[task(name = "t.ctx")]
    fn with_a_context(ctx: Ctx, text: String);
}

extern_task! {
    #[task(name = "t.ref")]
    fn borrowed(text: &str);
}

extern_task! {
    #[task(name = "t.stars")]
    fn two_stars(x: i64, *, y: i64, *, z: i64);
}

extern_task! {
    #[task(name = "t.default")]
    fn default_before(x: i64 = 1, y: i64);
}

extern_task! {
    #[task(name = "t.args")]
    fn default_before_args(x: i64 = 1, args: Args);
}

extern_task! {
    #[task(name = "t.pattern")]
    fn pattern((x, y): (i64, i64));
}

extern_task! {
    #[task(name = "t.generic")]
    fn generic<T>(x: T);
}

fn main() {}
