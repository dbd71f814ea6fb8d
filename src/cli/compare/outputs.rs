//! Where `wouldblock compare` tells what it found: standard output, and the files that were asked for.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::say;
use crate::compare::lang::Lang;
use crate::compare::results::Results;
use crate::compare::{figures, page, table};

#[derive(clap::Args)]
pub(super) struct Outputs {
    /// Write every run to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a page with the plots to a file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write each plot of the page as an SVG file into a folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Outputs {
    /// Whether they can be written: who measures for half an hour wants to know before. What is there stays as it is.
    pub(super) fn try_out(&self) -> Result<(), String> {
        for file in self.json.iter().chain(&self.html) {
            try_file(file).map_err(|error| cannot_write(file, &error))?;
        }
        if let Some(folder) = &self.plots {
            make(folder)?;
            tempfile::tempfile_in(folder).map_err(|error| cannot_write(folder, &error))?;
        }
        Ok(())
    }

    /// Tells it everywhere: what cannot be written keeps nothing else from being told.
    pub(super) fn tell(&self, results: &Results, lang: Lang) -> Result<(), String> {
        let table = say(&table::render(results, lang))
            .map_err(|error| format!("cannot write to standard output: {error}"));
        let told = [
            table,
            self.write_json(results),
            self.write_page(results, lang),
            self.write_plots(results, lang),
        ];
        let troubles: Vec<_> = told.into_iter().filter_map(Result::err).collect();
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
    }

    fn write_json(&self, results: &Results) -> Result<(), String> {
        let Some(file) = &self.json else { return Ok(()) };
        let mut json =
            serde_json::to_string(results).map_err(|error| format!("cannot write JSON: {error}"))?;
        json.push('\n');
        write(file, &json)
    }

    fn write_page(&self, results: &Results, lang: Lang) -> Result<(), String> {
        let Some(file) = &self.html else { return Ok(()) };
        write(file, &page::render(results, lang))
    }

    fn write_plots(&self, results: &Results, lang: Lang) -> Result<(), String> {
        let Some(folder) = &self.plots else { return Ok(()) };
        make(folder)?;
        for figure in figures::all(results, lang) {
            for (i, (_, svg)) in figure.panels.iter().enumerate() {
                write(&folder.join(format!("{}-{}.svg", figure.id, i + 1)), &page::standalone(svg))?;
            }
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| cannot_write(file, &error))
}

fn try_file(file: &Path) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(known) if known.is_file() || known.is_dir() => {
            OpenOptions::new().append(true).open(file).map(drop)
        }
        Err(_) if fs::symlink_metadata(file).is_err() => {
            OpenOptions::new().write(true).create_new(true).open(file)?;
            fs::remove_file(file)
        }
        // To open a pipe may take until somebody reads, and to close it would tell him that this was all.
        _ => Ok(()),
    }
}
