//! Writes the first inputs of the fuzz targets into `corpus`, one folder for each target.

#[path = "checks/mod.rs"]
#[allow(dead_code, reason = "only the seeds are needed")]
mod checks;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in checks::all::ALL {
        let folder = here.join("corpus").join(name);
        std::fs::create_dir_all(&folder)?;
        let seeds = checks::seeds::of(name, &here.join("../tests/vectors"));
        println!("{name}: {} inputs", seeds.len());
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("captured-{number}")), seed)?;
        }
    }
    Ok(())
}
