//! The tasks, and how they make an album. Each may run a second time, since the worker of the first run may have died
//! just before its end was stored. So each writes files that are the same after a second run.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use apium::prelude::*;
use serde::{Deserialize, Serialize};

use crate::picture::Picture;
use crate::studio::Studio;

/// The width of thumbnails.
const WIDTH: usize = 96;
/// In how many steps a thumbnail is made. After each the progress is stored.
const STEPS: usize = 4;

/// A fetched photo. Messages carry the name of its file and not the picture, so that they stay small.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Photo {
    number: u32,
    file: PathBuf,
}

/// A thumbnail.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    number: u32,
    file: PathBuf,
    width: usize,
    height: usize,
}

/// A published album.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Album {
    title: String,
    photos: Vec<u32>,
    page: PathBuf,
}

impl fmt::Display for Album {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, photos, page } = self;
        write!(f, "the album {title:?} with {} photos is published: {}", photos.len(), page.display())
    }
}

/// The workflow of an album: a chord. Its header has a chain for each photo, its body publishes the album.
pub(crate) fn album(title: &str, photos: u32) -> Signature<(), Album> {
    let thumbnails = (1..=photos).map(|number| fetch::s(title.to_owned(), number) | thumbnail::p());
    group(thumbnails) | publish::p(title.to_owned())
}

/// Fetches a photo. This one makes it up; a real one would ask a camera or another server, which may not answer.
#[task(name = "album.fetch", time_limit = "2m", autoretry_for(std::io::Error), retry_backoff = 1, max_retries = 8)]
async fn fetch(State(studio): State<Studio>, title: String, number: u32) -> TaskResult<Photo> {
    let file = studio.write(&title, &format!("photo-{number}.bmp"), &Picture::of_the_sun(number).to_bmp())?;
    Ok(Photo { number, file })
}

/// Scales a photo down. This keeps a processor busy, so it is a plain function, which has a thread of its own.
#[task(name = "album.thumbnail", time_limit = "2m")]
fn thumbnail(ctx: &Ctx, State(studio): State<Studio>, photo: Photo) -> TaskResult<Thumbnail> {
    let Photo { number, file } = photo;
    let picture = Picture::from_bmp(&fs::read(&file)?)?;
    let (width, height) = (WIDTH, WIDTH * picture.height / picture.width);
    let mut small = Picture::new(width, height);
    for step in 0..STEPS {
        picture.scale_rows(&mut small, height * step / STEPS..height * (step + 1) / STEPS);
        let percent = 100 * (step + 1) / STEPS;
        ctx.update_state("SCALING", json!({ "photo": number, "percent": percent })).wait()?;
        // Its time limit may have passed, or it was aborted.
        ctx.check()?;
    }
    let file = studio.write_beside(&file, &format!("thumbnail-{number}.bmp"), &small.to_bmp())?;
    Ok(Thumbnail { number, file, width, height })
}

/// Publishes an album: writes its page, with all its thumbnails in the order of the photos.
#[task(name = "album.publish", time_limit = "2m")]
async fn publish(State(studio): State<Studio>, thumbnails: Vec<Thumbnail>, title: String) -> TaskResult<Album> {
    let mut page = format!("<!doctype html>\n<title>{0}</title>\n<h1>{0}</h1>\n", escaped(&title));
    for Thumbnail { number, file, width, height } in &thumbnails {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        page += &format!("<a href=\"photo-{number}.bmp\"><img src=\"{name}\" width={width} height={height}></a>\n");
    }
    let page = studio.write(&title, "index.html", page.as_bytes())?;
    Ok(Album { title, photos: thumbnails.iter().map(|thumbnail| thumbnail.number).collect(), page })
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
