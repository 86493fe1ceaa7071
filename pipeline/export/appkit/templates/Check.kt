/*
 * Are the golden vectors what FunctionGemma.kt gives? Call `checkVectors(text of vectors.json)` from a test of your app: it returns the
 * names of those that are not. Reads JSON with org.json, which Android has and elsewhere is the library org.json:json.
 */
package functiongemma

import org.json.JSONArray
import org.json.JSONObject

fun checkVectors(json: String): List<String> {
    val golden = JSONObject(json)
    val vectors = golden.getJSONArray("vectors")
    return (0 until vectors.length()).map { vectors.getJSONObject(it) }
        .filterNot { isReproduced(it, golden.getString("declarations")) }.map { it.getString("name") }
}

@Suppress("UNCHECKED_CAST")
private fun isReproduced(vector: JSONObject, declarations: String): Boolean {
    val reply = parse(vector.getString("reply"))
    val calls = vector.getJSONArray("calls")
    val errors = vector.getJSONArray("errors")
    val wantedCalls = (0 until calls.length()).map {
        val call = calls.getJSONObject(it)
        Call(call.getString("name"), plain(call.getJSONObject("arguments")) as Map<String, Any?>)
    }
    val wantedErrors = (0 until errors.length()).map {
        errors.getJSONObject(it).getString("code") to errors.getJSONObject(it).getInt("at_utf16")
    }
    val prompt = !vector.has("request") || vector.getString("prompt") ==
        renderPrompt(vector.getString("request"), vector.getString("developer"), declarations)
    val foundErrors = reply.errors.map { it.code to it.at }
    return prompt && reply.text == vector.getString("text") && same(reply.calls, wantedCalls) && foundErrors == wantedErrors
}

/** What org.json gives as maps, lists, Long, Double, String, Boolean and null. */
private fun plain(value: Any?): Any? = when (value) {
    is JSONObject -> value.keys().asSequence().map { it.toString() }.associateWith { plain(value.get(it)) }
    is JSONArray -> (0 until value.length()).map { plain(value.get(it)) }
    is Int -> value.toLong()
    is Long, is String, is Boolean -> value
    is Number -> value.toDouble()
    else -> null // JSONObject.NULL
}

/** Numbers by their value: org.json reads 2.0 as a whole number or not, depending on its version. */
private fun same(a: Any?, b: Any?): Boolean = when {
    a is Call && b is Call -> a.name == b.name && same(a.arguments, b.arguments)
    a is Map<*, *> && b is Map<*, *> -> a.keys == b.keys && a.keys.all { same(a[it], b[it]) }
    a is List<*> && b is List<*> -> a.size == b.size && a.indices.all { same(a[it], b[it]) }
    a is Long && b is Long -> a == b
    a is Number && b is Number -> a.toDouble() == b.toDouble()
    else -> a == b
}
