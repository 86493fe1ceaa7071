/*
 * FunctionGemma's replies and prompts for a Kotlin app, without libraries.
 *
 * LiteRT-LM's Conversation writes the prompt and reads calls by itself; this is for its Session, for MediaPipe, and for whoever wants to
 * be strict: a call is returned only if it is written exactly as the model was trained to write it. Anything else is a ParseError with the
 * place where it broke; nothing is guessed. The first broken call ends the reading, because where its strings end is then unknown. Linear
 * time, at most 64 levels deep. Check.kt checks this file against the golden vectors.
 */
package functiongemma

const val BOS = "<bos>"
private const val ESCAPE = "<escape>"
private const val START_CALL = "<start_function_call>"
private const val END_CALL = "<end_function_call>"
private const val MAX_DEPTH = 64
private val STOPS = mapOf(
    "<start_function_response>" to "content_after_response_token",
    "<end_of_turn>" to "content_after_end_of_turn",
    "<eos>" to "content_after_end_of_turn"
)
val CONTROL_TOKENS = listOf(
    "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<escape>", "<start_function_declaration>",
    "<end_function_declaration>", "<start_function_call>", "<end_function_call>", "<start_function_response>",
    "<end_function_response>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_receiver>", "<end_receiver>",
    "<unk>", "<mask>"
)

// White space as Python has it, which the model's chat template trims by; Kotlin's own differs in U+0085 on some platforms.
private const val SPACES =
    "\t\n\u000b\u000c\r\u001c\u001d\u001e\u001f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
private val WORDS = mapOf("true" to true, "false" to false, "null" to null, "None" to null)
private val NUMBER = Regex("-?(?:0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")

/** A call that the model wrote without a mistake. Whether it may run, and with these arguments, is your app's decision.
 *
 * Values are String, Long, Double, Boolean, null, List and Map.
 */
data class Call(val name: String, val arguments: Map<String, Any?>)

/** What could not be read, and why.
 *
 * [code] is truncated_call (cut off), malformed_call, stray_token, content_after_response_token or content_after_end_of_turn; [at] is the
 * index in the reply at which it broke, [expected] what should have stood there, [raw] the text that was not read.
 */
data class ParseError(val code: String, val at: Int, val expected: String, val raw: String)

/** [text] is for the user; run nothing of a reply that has errors with the codes truncated_call or malformed_call. */
data class Reply(val text: String, val calls: List<Call>, val errors: List<ParseError>)

/** Reads a whole reply, control tokens included. Never throws. */
fun parse(reply: String): Reply {
    val whole = Reader(reply)
    if (whole.isCallWithoutStart()) {
        return Reply("", emptyList(), listOf(ParseError("malformed_call", whole.firstVisible(), START_CALL, reply)))
    }
    val reader = Reader(reply)
    val text = StringBuilder()
    val calls = mutableListOf<Call>()
    val errors = mutableListOf<ParseError>()
    while (reader.at < reply.length) {
        val start = reply.indexOf('<', reader.at)
        text.append(reply, reader.at, if (start < 0) reply.length else start)
        if (start < 0) break
        val token = reader.token(start)
        reader.at = start + maxOf(token.length, 1)
        if (token.isEmpty()) {
            text.append('<')
        } else if (token == START_CALL) {
            try {
                calls.add(reader.call())
            } catch (broken: Broken) {
                errors.add(ParseError(broken.code, broken.at, broken.expected, reply.substring(start)))
                break
            }
        } else if (token in STOPS) {
            reader.skipEnd()
            if (reader.at < reply.length) {
                errors.add(ParseError(STOPS.getValue(token), reader.at, "the end of the reply", reply.substring(reader.at)))
            }
            break
        } else {
            errors.add(ParseError("stray_token", start, "text, a call or the end of the reply", token))
        }
    }
    return Reply(text.toString(), calls, errors)
}

/** The prompt of a first request, as in training. Runtimes that add <bos> themselves want it without: `.removePrefix(BOS)`.
 *
 * Throws an IllegalArgumentException if the request spells a control token: the model would read it as one.
 */
fun renderPrompt(request: String, developer: String, declarations: String): String {
    val spelled = CONTROL_TOKENS.firstOrNull { it in request }
    require(spelled == null) { "The request spells the control token $spelled." }
    val start = "$BOS<start_of_turn>developer\n${trim(developer)}$declarations<end_of_turn>\n"
    return "$start<start_of_turn>user\n${trim(request)}<end_of_turn>\n<start_of_turn>model\n"
}

private fun trim(text: String): String = text.trim { it in SPACES }

private class Broken(val code: String, val at: Int, val expected: String) : Exception(code)

/** Recursive descent over the text; [at] is the place reached. */
private class Reader(val text: String) {
    var at = 0

    fun fail(place: Int, expected: String): Nothing {
        val found = token(place)
        val cut = isCut(place) || (found != "" && found != ESCAPE && found != END_CALL)
        throw Broken(if (cut) "truncated_call" else "malformed_call", place, expected)
    }

    /** The control token at this place, empty if there is none. */
    fun token(place: Int): String = CONTROL_TOKENS.firstOrNull { text.startsWith(it, place) } ?: ""

    /** Whether the text ends at this place, or in the middle of a control token that starts there. */
    fun isCut(place: Int): Boolean =
        CONTROL_TOKENS.any { text.length - place < it.length && it.startsWith(text.substring(place)) }

    /** Whether this very character comes next. */
    fun isNext(character: Char): Boolean = at < text.length && text[at] == character

    fun skipSpace() {
        while (at < text.length && text[at] in SPACES) at += 1
    }

    fun firstVisible(): Int {
        at = 0
        skipSpace()
        return at
    }

    /** On to the first place that holds anything but white space, stops and padding. */
    fun skipEnd() {
        while (true) {
            skipSpace()
            val found = token(at)
            if (found !in STOPS && found != "<pad>") return
            at += found.length
        }
    }

    fun isCallWithoutStart(): Boolean {
        skipSpace()
        if (!text.startsWith("call:", at)) return false
        try {
            call()
        } catch (broken: Broken) {
            return false
        }
        skipEnd()
        return at == text.length
    }

    /** What comes before the next character in [stops] or the next control token. Fails at the end of the text. */
    fun until(stops: String): String {
        val start = at
        while (at < text.length && text[at] !in stops) {
            if (text[at] == '<' && (token(at) != "" || isCut(at))) break
            at += 1
        }
        if (at == text.length) fail(at, "the rest of the call")
        return text.substring(start, at)
    }

    fun character(expected: Char) {
        skipSpace()
        if (!isNext(expected)) fail(at, expected.toString())
        at += 1
    }

    fun call(): Call {
        skipSpace()
        if (!text.startsWith("call:", at)) {
            val cut = text.length - at < 5 && "call:".startsWith(text.substring(at))
            fail(if (cut) text.length else at, "call:")
        }
        at += 5
        val name = until("{}[]()<>\",=$SPACES")
        if (name.isEmpty()) fail(at, "the name of a function")
        character('{')
        val arguments = readObject(1)
        skipSpace()
        val left = text.length - at
        if (text.startsWith(END_CALL, at)) {
            at += END_CALL.length
        } else if (left < END_CALL.length && END_CALL.startsWith(text.substring(at))) {
            at = text.length // the reply ends before or in the end tag
        } else if (token(at) !in STOPS) {
            fail(at, END_CALL)
        }
        return Call(name, arguments)
    }

    fun readObject(depth: Int): Map<String, Any?> {
        if (depth > MAX_DEPTH) fail(at - 1, "at most $MAX_DEPTH levels")
        val pairs = LinkedHashMap<String, Any?>()
        skipSpace()
        if (isNext('}')) {
            at += 1
            return pairs
        }
        while (true) {
            skipSpace()
            val start = at
            val name = key()
            if (pairs.containsKey(name)) fail(start, "an argument that is not there yet")
            character(':')
            pairs[name] = value(depth)
            skipSpace()
            if (isNext('}')) {
                at += 1
                return pairs
            }
            character(',')
        }
    }

    fun readArray(depth: Int): List<Any?> {
        if (depth > MAX_DEPTH) fail(at - 1, "at most $MAX_DEPTH levels")
        val values = ArrayList<Any?>()
        skipSpace()
        if (isNext(']')) {
            at += 1
            return values
        }
        while (true) {
            values.add(value(depth))
            skipSpace()
            if (isNext(']')) {
                at += 1
                return values
            }
            character(',')
        }
    }

    fun key(): String {
        if (text.startsWith(ESCAPE, at)) return string()
        val start = at
        val name = trim(until(":,{}[]"))
        if (name.isEmpty() || name[0] == '"') fail(start, "the name of an argument")
        return name
    }

    /** Text between two <escape>; everything in it is text, whatever it looks like. */
    fun string(): String {
        val start = at + ESCAPE.length
        val end = text.indexOf(ESCAPE, start)
        if (end < 0) fail(text.length, ESCAPE)
        at = end + ESCAPE.length
        return text.substring(start, end)
    }

    fun value(depth: Int): Any? {
        skipSpace()
        if (text.startsWith(ESCAPE, at)) return string()
        if (isNext('{')) {
            at += 1
            return readObject(depth + 1)
        }
        if (isNext('[')) {
            at += 1
            return readArray(depth + 1)
        }
        val start = at
        val word = until(",]}$SPACES")
        if (WORDS.containsKey(word)) return WORDS[word]
        val number = NUMBER.matchEntire(word) ?: fail(start, "a value")
        if (number.groupValues[1] != "" || number.groupValues[2] != "") {
            val read = word.toDouble()
            if (read.isInfinite()) fail(start, "a number that fits into 64 bits")
            return read
        }
        return word.toLongOrNull() ?: fail(start, "a number that fits into 64 bits")
    }
}
