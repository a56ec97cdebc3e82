//! One who orders an album, follows its progress and waits for it. This needs no worker in the process, and it goes on
//! after the server was away for a while.

use std::pin::pin;

use apium::prelude::*;
use futures_util::TryStreamExt as _;

use crate::tasks::{self, Album};

/// Orders an album, and returns it when it is published. With `shows` it prints what happens until then.
pub(crate) async fn submit(app: &App, title: &str, photos: u32, shows: bool) -> Result<Album, BoxError> {
    let album = tasks::album(title, photos).send(app).await?;
    if !shows {
        return Ok(album.get().await?);
    }
    println!("ordered the album {title:?} with {photos} photos: task {}", album.id());
    let mut published = pin!(album.get().into_future());
    tokio::select! {
        // In this order, so that what is known of the photos is printed before the album is.
        biased;
        shown = show(&album, photos) => shown?,
        // An album fails as soon as one of its photos does.
        album = &mut published => return Ok(album?),
    }
    Ok(published.await?)
}

/// Prints every state of the photos, until all of them have ended.
async fn show(album: &AsyncResult<Album>, total: u32) -> Result<(), BoxError> {
    // What comes before the body of a chord is its header: here the last step of each chain.
    let photos = album.parent().ok_or("follow an album: its header is missing")?;
    let (mut ready, mut states) = (0, pin!(photos.watch().await?));
    while let Some(now) = states.try_next().await? {
        match now.state {
            TaskState::Custom(state) => println!("{state} {}", now.result),
            state if state.is_ready() => {
                ready += 1;
                println!("{state} {ready} of {total} photos");
            }
            _ => {}
        }
    }
    Ok(())
}
