// Command sumdbcheck reads a log with the Go project's own packages for signed notes and transparency logs, and makes
// notes and proofs with them for others to check.
//
//	sumdbcheck log URL VKEY      verify checkpoint, every tile, every entry, inclusion and consistency proofs
//	sumdbcheck make NAME SIZES   print, as JSON, a signed checkpoint and proofs for each of the comma-separated sizes
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const maxBytes = 64 << 20

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: sumdbcheck log URL VKEY | sumdbcheck make NAME SIZES")
	}
	var err error
	switch os.Args[1] {
	case "log":
		err = checkLog(os.Args[2], os.Args[3])
	case "make":
		err = makeProofs(os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func get(url string) ([]byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxBytes))
}

// tileSource reads tiles as c2sp.org/tlog-tiles lays them out: the height is 8 and not part of the path.
type tileSource struct{ url string }

func (s tileSource) Height() int { return 8 }

func (s tileSource) SaveTiles([]tlog.Tile, [][]byte) {}

func (s tileSource) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		read, err := get(s.url + "/" + path)
		if err != nil {
			return nil, err
		}
		data = append(data, read)
	}
	return data, nil
}

func checkLog(url, vkey string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	signed, err := get(url + "/checkpoint")
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	tree, err := parseCheckpoint(opened.Text, verifier.Name())
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, tileSource{url})
	for first := int64(0); first < tree.N; first += 256 {
		if err := checkBundle(url, tree, reader, first); err != nil {
			return err
		}
	}
	for size := int64(1); size <= tree.N; size += 1 + tree.N/50 {
		root, err := tlog.TreeHash(size, reader)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, size, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, size, root); err != nil {
			return fmt.Errorf("consistency from %d: %w", size, err)
		}
	}
	fmt.Println(tree.N)
	return nil
}

func parseCheckpoint(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s: %q", origin, text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("bad root %q", lines[2])
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(root)}, nil
}

func checkBundle(url string, tree tlog.Tree, reader tlog.HashReader, first int64) error {
	width := min(256, tree.N-first)
	tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: int(width)}
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	bundle, err := get(url + "/" + path)
	if err != nil {
		return err
	}
	for index := first; index < first+width; index++ {
		if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
			return fmt.Errorf("%s is cut short", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		leaf := tlog.RecordHash(bundle[2:end])
		bundle = bundle[end:]
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	if len(bundle) != 0 {
		return fmt.Errorf("%s has more than %d entries", path, width)
	}
	return nil
}

// A made log has the entries "0", "1", "2" and so on.
type made struct {
	VKey        string   `json:"vkey"`
	Checkpoints []string `json:"checkpoints"`
	// Records[i][j] proves entry j in the tree of the i-th checkpoint, Trees[i] the tree of the one before.
	Records [][][]string `json:"records"`
	Trees   [][]string   `json:"trees"`
}

func makeProofs(name, sizes string) error {
	seed := sha256.Sum256([]byte(name))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	out := made{VKey: vkey}
	size, before := int64(0), int64(0)
	for _, text := range strings.Split(sizes, ",") {
		wanted, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		for ; size < wanted; size++ {
			hashes, err := tlog.StoredHashes(size, []byte(strconv.FormatInt(size, 10)), reader)
			if err != nil {
				return err
			}
			stored = append(stored, hashes...)
		}
		if err := out.add(name, signer, before, size, reader); err != nil {
			return err
		}
		before = size
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func (m *made) add(name string, signer note.Signer, before, size int64, reader tlog.HashReader) error {
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", name, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return err
	}
	m.Checkpoints = append(m.Checkpoints, string(signed))
	records := [][]string{}
	for index := int64(0); index < size; index++ {
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			return err
		}
		records = append(records, encode(proof))
	}
	m.Records = append(m.Records, records)
	var tree tlog.TreeProof
	if before > 0 {
		if tree, err = tlog.ProveTree(size, before, reader); err != nil {
			return err
		}
	}
	m.Trees = append(m.Trees, encode(tree))
	return nil
}

func encode(hashes []tlog.Hash) []string {
	lines := []string{}
	for _, hash := range hashes {
		lines = append(lines, base64.StdEncoding.EncodeToString(hash[:]))
	}
	return lines
}
