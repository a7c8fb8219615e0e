import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/**
 * Reads a table and lists tables through JDBC as BI tools do, and prints a line for each thing read, fields apart by tabs.
 *
 * Arguments: URL of the store, database, table, then properties of the driver as name=value.
 */
public class Reader {
    public static void main(String[] arguments) throws Exception {
        String database = arguments[1];
        String table = arguments[2];
        Properties properties = new Properties();
        for (String each : Arrays.asList(arguments).subList(3, arguments.length)) {
            String[] pair = each.split("=", 2);
            properties.setProperty(pair[0], pair[1]);
        }
        try (Connection connection =
                DriverManager.getConnection("jdbc:clickhouse:" + arguments[0] + "/" + database, properties)) {
            if (!connection.isValid(10)) {
                throw new IllegalStateException("isValid");
            }
            DatabaseMetaData about = connection.getMetaData();
            print("server", about.getDatabaseProductVersion());
            for (String name : names(about.getTables(null, database, "%", null), "TABLE_NAME")) {
                print("table", name);
            }
            for (String name : names(about.getColumns(null, database, table, "%"), "COLUMN_NAME")) {
                print("column", name);
            }
            for (String name : names(about.getSchemas(), "TABLE_SCHEM")) {
                print("schema", name);
            }
            print("types", names(about.getTypeInfo(), "TYPE_NAME").contains("UInt64"));
            print("functions", names(about.getFunctions(null, null, "toUInt64"), "FUNCTION_NAME").contains("toUInt64"));
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(60);
                statement.setMaxRows(1000);
                try (ResultSet user = statement.executeQuery("SELECT currentUser()")) {
                    user.next();
                    print("user", user.getString(1));
                }
            }
            String query = "SELECT Id, At, Service, Attributes, Durations FROM " + database + "." + table
                    + " WHERE Id < ? ORDER BY Id";
            try (PreparedStatement statement = connection.prepareStatement(query)) {
                statement.setLong(1, 1000);
                try (ResultSet rows = statement.executeQuery()) {
                    print("columns", rows.getMetaData().getColumnCount());
                    while (rows.next()) {
                        Instant at = rows.getObject(2, ZonedDateTime.class).toInstant();
                        Map<?, ?> attributes = new TreeMap<>((Map<?, ?>) rows.getObject(4));
                        Object durations = rows.getArray(5).getArray();
                        List<String> each = new ArrayList<>();
                        for (int i = 0; i < java.lang.reflect.Array.getLength(durations); i++) {
                            each.add(String.valueOf(java.lang.reflect.Array.get(durations, i)));
                        }
                        print("row", rows.getBigDecimal(1).toBigInteger(), at.getEpochSecond(), at.getNano(),
                                rows.getString(3), attributes, each);
                    }
                }
            }
        }
    }

    private static List<String> names(ResultSet rows, String column) throws Exception {
        List<String> found = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                found.add(rows.getString(column));
            }
        }
        return found;
    }

    private static void print(Object... fields) {
        StringBuilder line = new StringBuilder();
        for (Object field : fields) {
            line.append(line.length() == 0 ? "" : "\t").append(field);
        }
        System.out.println(line);
    }
}
