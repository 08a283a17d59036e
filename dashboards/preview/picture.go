package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// windowSpare is how much higher than the page the window is: Chromium keeps a part of
// it for itself.
const windowSpare = 200

// photograph writes the picture of the page with its data.
func (o *options) photograph(ctx context.Context, data []byte, height int, picture string) error {
	folder, err := os.MkdirTemp("", "preview-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	var page bytes.Buffer
	page.WriteString("<!doctype html><meta charset=utf-8><style>")
	for _, part := range []struct{ file, after string }{{"page.css", "</style><body><script>const data = "}, {"", ""}, {"page.js", "</script>"}} {
		text := append(bytes.ReplaceAll(data, []byte("</"), []byte(`<\/`)), "</script><script>"...)
		if part.file != "" {
			if text, err = os.ReadFile(filepath.Join(o.page, part.file)); err != nil {
				return fmt.Errorf("the page is not bundled (`make pictures` does): %w", err)
			}
		}
		page.Write(text)
		page.WriteString(part.after)
	}
	file := filepath.Join(folder, "page.html")
	if err := os.WriteFile(file, page.Bytes(), 0o600); err != nil {
		return err
	}
	shot := filepath.Join(folder, "page.png")
	command := exec.CommandContext(ctx, o.chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1", "--disable-lcd-text", "--user-data-dir="+filepath.Join(folder, "profile"),
		fmt.Sprintf("--window-size=%d,%d", o.width, height+windowSpare), "--screenshot="+shot, "file://"+file)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", o.chromium, err, out)
	}
	return crop(shot, picture, o.width, height)
}

// crop writes the upper part of a picture.
func crop(from, to string, width, height int) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("Chromium made no picture: %w", err)
	}
	whole, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(out, paletted(whole, image.Rect(0, 0, width, height).Intersect(whole.Bounds()))); err != nil {
		return err
	}
	return out.Close()
}

// paletted has 256 colours, a third of the bytes: the most frequent of those that differ
// enough to be told apart.
func paletted(whole image.Image, part image.Rectangle) *image.Paletted {
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA) }
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	for _, c := range colors {
		if len(palette) < 256 && (len(palette) == 0 || apart(c, palette[palette.Index(c)].(color.RGBA)) > 8) {
			palette = append(palette, c)
		}
	}
	index := map[color.RGBA]uint8{}
	for _, c := range colors {
		index[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(part, palette)
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return out
}

// apart is how much two colours differ, in steps of their channels.
func apart(a, b color.RGBA) int {
	step := func(a, b uint8) int { return max(int(a), int(b)) - min(int(a), int(b)) }
	return step(a.R, b.R) + step(a.G, b.G) + step(a.B, b.B)
}
