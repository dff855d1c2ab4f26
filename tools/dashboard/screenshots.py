"""The pictures of docs/guides/dashboard.md: a real mixed load on the embedded engine, some minutes.

`just screenshots` runs it. Needs Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from tools.dashboard.browser import ARGUMENTS, chromium
from tools.dashboard.load import MixedLoad, remembered

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
DESKTOP = {"width": 1440, "height": 1180}
_UNFOLD = "document.querySelector('#memories-body details')?.setAttribute('open', '')"
PHONE = {"width": 390, "height": 844}
BACKLOG = 300
"""Jobs; more than are done before the pictures are taken, also on a quick machine."""


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[str]:
    """A `stoker serve` on a folder of its own; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stoker", "serve", "--port", "0", "--data", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def picture(browser: Browser, url: str, name: str, *, scheme: str, section: str = "") -> None:
    """One picture of the page, quantized: a few colours are enough, and half the bytes."""
    size, scale = (PHONE, 2) if name.endswith("phone") else (DESKTOP, 1)
    context = await browser.new_context(
        viewport=size, device_scale_factor=scale, color_scheme=scheme, reduced_motion="reduce"
    )
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_selector("#live[data-state=live]")
    await page.wait_for_selector("#jobs-table tbody tr")
    await asyncio.sleep(3)
    if section == "story":
        await _open_story(page)
    elif section:
        await page.evaluate("id => document.getElementById(id).scrollIntoView()", section)
        await page.evaluate(_UNFOLD)
        await asyncio.sleep(1)
    shot = Image.open(io.BytesIO(await page.screenshot()))
    small = shot.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(IMAGES / f"{name}.png", optimize=True)
    print(f"{name}: {(IMAGES / f'{name}.png').stat().st_size / 1000:.0f} kB")
    await context.close()


async def _open_story(page: Page) -> None:
    """Of a job that gave way, went on, and is done."""
    jobs = await page.evaluate("fetch('v1/p2?state=completed&limit=200').then(r => r.json())")
    told = [job for job in jobs["data"] if job["preemptions"]] or jobs["data"]
    await page.fill("#story-id", told[0]["job_id"])
    await page.click("#story-open")
    await page.wait_for_selector("#story .entries li")
    await asyncio.sleep(1)


async def main(seconds: float) -> None:
    """Let the load run for so long, then take the pictures while it goes on."""
    IMAGES.mkdir(exist_ok=True)
    executable = chromium()
    assert executable is not None, "Chromium is not installed"
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as url, async_playwright() as tool:
            await remembered(url)
            load = asyncio.ensure_future(MixedLoad(url, jobs=BACKLOG).run())
            await asyncio.sleep(seconds)
            browser = await tool.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
            await picture(browser, url, "dashboard-light", scheme="light")
            await picture(browser, url, "dashboard-dark", scheme="dark", section="why")
            await picture(browser, url, "dashboard-phone", scheme="light")
            await picture(browser, url, "dashboard-story", scheme="dark", section="story")
            await picture(browser, url, "dashboard-memories", scheme="light", section="batches")
            await browser.close()
            load.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0)
    asyncio.run(main(parser.parse_args().seconds))
