//! Tasks whose arguments or results cannot travel.

use apium::prelude::*;
use serde::{Deserialize, Serialize};

struct Socket;

#[derive(Serialize)]
struct Written;

#[derive(Deserialize)]
struct Read;

#[task]
fn an_argument_without_serde(id: u64, socket: Socket) {}

#[task]
fn an_argument_that_is_only_written(value: Written) {}

#[task]
async fn an_argument_that_is_only_read(value: Read) {}

#[task]
fn a_list_of_them(sockets: Vec<Socket>, others: Option<u8>) {}

#[task]
fn a_default_without_serde(
    #[default] id: u64,
    #[keyword]
    #[default(None)]
    socket: Option<Socket>,
) {
}

#[task]
fn a_result_without_serde() -> Socket {
    Socket
}

#[task]
async fn a_result_in_a_result() -> TaskResult<Socket> {
    Ok(Socket)
}

extern_task! {
    #[task(name = "far.away")]
    fn extern_argument(socket: Socket) -> u8;

    #[task(name = "far.off")]
    fn extern_result(id: u8) -> Socket;
}

fn main() {}
