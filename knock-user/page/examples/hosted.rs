//! Writes the files of the page without a key to the folder that is named: `cargo xtask docs` puts them
//! beside the book.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("name the folder")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    for file in knock_page::hosted() {
        fs::write(folder.join(file.name), file.content)?;
    }
    Ok(())
}
