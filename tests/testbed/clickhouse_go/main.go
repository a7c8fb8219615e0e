// Reads a table and lists tables through clickhouse-go, as Grafana's ClickHouse plugin does, and prints both as JSON.
//
// Usage: reader ADDRESS http|native COMPRESSION DEADLINE DATABASE TABLE
//
// With a STATEMENTS file as seventh argument, each of its lines (a JSON string) is run instead, and one line of JSON is
// printed for each: the error, or the rows as text.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type row struct {
	ID         uint64
	At         string
	Service    string
	Attributes map[string]string
	Durations  []uint64
}

type answer struct {
	User   string
	Server string
	Rows   []row
	Tables []string
}

var compressions = map[string]clickhouse.CompressionMethod{
	"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "lz4hc": clickhouse.CompressionLZ4HC,
	"zstd": clickhouse.CompressionZSTD, "gzip": clickhouse.CompressionGZIP, "deflate": clickhouse.CompressionDeflate,
	"br": clickhouse.CompressionBrotli,
}

func main() {
	address, protocol, compression, database, table := os.Args[1], os.Args[2], os.Args[3], os.Args[5], os.Args[6]
	deadline, err := time.ParseDuration(os.Args[4])
	check(err)
	options := &clickhouse.Options{
		Addr: []string{address}, Protocol: clickhouse.Native, Auth: clickhouse.Auth{Database: database},
		Compression: &clickhouse.Compression{Method: compressions[compression]},
		DialTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second,
	}
	if protocol == "http" {
		options.Protocol = clickhouse.HTTP
	}
	if len(os.Args) > 7 {
		statements(options, deadline, os.Args[7])
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	// The plugin's way: database/sql, and a ping before anything else.
	pool := clickhouse.OpenDB(options)
	defer pool.Close()
	check(pool.PingContext(ctx))
	var got answer
	check(pool.QueryRowContext(ctx, "SELECT currentUser(), version()").Scan(&got.User, &got.Server))
	rows, err := pool.QueryContext(ctx, fmt.Sprintf(
		"SELECT Id, At, Service, Attributes, Durations FROM %s.%s WHERE Id < ? ORDER BY Id", database, table), 1000)
	check(err)
	for rows.Next() {
		var next row
		var at time.Time
		check(rows.Scan(&next.ID, &at, &next.Service, &next.Attributes, &next.Durations))
		next.At = at.UTC().Format("2006-01-02T15:04:05.000000000Z")
		got.Rows = append(got.Rows, next)
	}
	check(rows.Err())
	// And the library's own, whose handshake has a deadline of its own.
	connection, err := clickhouse.Open(options)
	check(err)
	defer connection.Close()
	check(connection.Ping(ctx))
	names, err := connection.Query(ctx, "SELECT name FROM system.tables WHERE database = ? ORDER BY name", database)
	check(err)
	for names.Next() {
		var name string
		check(names.Scan(&name))
		got.Tables = append(got.Tables, name)
	}
	check(names.Err())
	check(json.NewEncoder(os.Stdout).Encode(got))
}

type question struct {
	Statement string
	Settings  map[string]string
}

type outcome struct {
	Code  int32
	Error string
	Rows  int
	Text  string
}

// statements runs each on a connection of the pool; one that the server closed is opened again.
func statements(options *clickhouse.Options, deadline time.Duration, path string) {
	connection, err := clickhouse.Open(options)
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(connection.Ping(ctx))
	file, err := os.Open(path)
	check(err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	var asked []question
	for lines.Scan() {
		var next question
		check(json.Unmarshal(lines.Bytes(), &next))
		asked = append(asked, next)
	}
	check(lines.Err())
	// A refused statement costs its connection, and a connection its time: several at once.
	answers := make([]outcome, len(asked))
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for number := range numbers {
				answers[number] = run(connection, deadline, asked[number].Statement, asked[number].Settings)
			}
		})
	}
	for number := range asked {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	printed := json.NewEncoder(os.Stdout)
	for _, answer := range answers {
		check(printed.Encode(answer))
	}
}

func run(connection clickhouse.Conn, deadline time.Duration, statement string, settings map[string]string) (got outcome) {
	// A statement that the library cannot read the answer of (another format, say) must not end the others.
	defer func() {
		if broken := recover(); broken != nil {
			got.Error = fmt.Sprint("panic: ", broken)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	chosen := clickhouse.Settings{}
	for name, value := range settings {
		chosen[name] = value
	}
	rows, err := connection.Query(clickhouse.Context(ctx, clickhouse.WithSettings(chosen)), statement)
	if err == nil {
		defer rows.Close()
		values := make([]any, 0, len(rows.ColumnTypes()))
		for _, column := range rows.ColumnTypes() {
			values = append(values, reflect.New(column.ScanType()).Interface())
		}
		for rows.Next() {
			got.Rows++
			if err := rows.Scan(values...); err == nil && len(got.Text) < 1<<20 {
				for _, value := range values {
					got.Text += fmt.Sprint(reflect.Indirect(reflect.ValueOf(value)).Interface()) + "\t"
				}
			}
		}
		err = rows.Err()
	}
	if err != nil {
		got.Error = err.Error()
		if exception, ok := err.(*clickhouse.Exception); ok {
			got.Code = exception.Code
		}
	}
	return got
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
