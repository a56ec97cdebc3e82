//! Pictures, as bitmaps of 24 bits a pixel (BMP), which browsers show.

use std::ops::Range;

use apium::prelude::*;

/// The size of a photo.
const PHOTO: (usize, usize) = (480, 320);
/// The bytes before the pixels in a file, and how many of them are its inner header.
const HEADER: usize = 54;
const INNER_HEADER: usize = 40;
/// One plane, and 24 bits a pixel.
const DEPTH: usize = 1 | 24 << 16;

/// A picture. Its pixels are blue, green and red, row by row.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// A black one.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0; 3]; width * height] }
    }

    /// The sun over the sea, which rises with the first photos and sets with the twentieth.
    pub(crate) fn of_the_sun(number: u32) -> Self {
        let (width, height) = PHOTO;
        let mut picture = Self::new(width, height);
        let time = f64::from(number) / 21.0;
        let sun = (time * width as f64, (1.0 - 3.6 * time * (1.0 - time)) * 0.75 * height as f64);
        let light = 4.0 * time * (1.0 - time);
        for (at, pixel) in picture.pixels.iter_mut().enumerate() {
            let (x, y) = ((at % width) as f64, (at / width) as f64);
            let glow = (1.0 - (x - sun.0).hypot(y - sun.1) / 120.0).clamp(0.0, 1.0);
            let [blue, green, red] = match y < 0.75 * height as f64 {
                true => [0.5 + 0.5 * light, 0.3 * light + 0.7 * glow, 0.2 * light + glow],
                false => [0.2 + 0.3 * light, 0.3 * light, 0.1],
            };
            *pixel = [blue, green, red].map(|part: f64| (part.clamp(0.0, 1.0) * 255.0) as u8);
        }
        picture
    }

    /// Fills rows of `small`, a picture of the same shape: each pixel is the mean of those that it stands for.
    pub(crate) fn scale_rows(&self, small: &mut Self, rows: Range<usize>) {
        for y in rows {
            for x in 0..small.width {
                let (xs, ys) = (covered(x, small.width, self.width), covered(y, small.height, self.height));
                let count = (xs.len() * ys.len()).max(1);
                let mut sums = [0; 3];
                for pixel in ys.flat_map(|y| &self.pixels[y * self.width..][xs.clone()]) {
                    for (sum, part) in sums.iter_mut().zip(pixel) {
                        *sum += usize::from(*part);
                    }
                }
                small.pixels[y * small.width + x] = sums.map(|sum| (sum / count) as u8);
            }
        }
    }

    /// The file: a header, and the rows from the lowest up, each filled to whole words.
    pub(crate) fn to_bmp(&self) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let row = row_bytes(self.width);
        let mut bytes = b"BM".to_vec();
        for part in [HEADER + self.height * row, 0, HEADER, INNER_HEADER, self.width, self.height, DEPTH] {
            bytes.extend(number(part));
        }
        bytes.resize(HEADER, 0);
        for pixels in self.pixels.chunks(self.width).rev() {
            bytes.extend(pixels.as_flattened());
            bytes.resize(bytes.len() + row - 3 * self.width, 0);
        }
        bytes
    }

    /// Reads a file of the kind that [`to_bmp`](Self::to_bmp) makes.
    pub(crate) fn from_bmp(bytes: &[u8]) -> Result<Self, BoxError> {
        let number = |at| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let (true, Some(DEPTH), Some(width), Some(height)) =
            (bytes.starts_with(b"BM"), number(26), number(18), number(22))
        else {
            return Err("read a picture: it is no bitmap with 24 bits a pixel".into());
        };
        let rows = bytes[HEADER.min(bytes.len())..].chunks_exact(row_bytes(width).max(1));
        if width == 0 || height == 0 || rows.len() != height {
            return Err(format!("read a picture of {width} times {height} pixels: it has {} rows", rows.len()).into());
        }
        let pixels = rows.rev().flat_map(|row| row[..3 * width].as_chunks().0).copied().collect();
        Ok(Self { width, height, pixels })
    }
}

/// The bytes of a row in a file.
fn row_bytes(width: usize) -> usize {
    (3 * width).next_multiple_of(4)
}

/// The positions in a row of `from` pixels for which position `at` of `to` pixels stands.
fn covered(at: usize, to: usize, from: usize) -> Range<usize> {
    at * from / to..(at + 1) * from / to
}
